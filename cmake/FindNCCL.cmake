# Finds NCCL in the CUDA toolkit, in Python wheels or in the system's folders; NCCL_ROOT names another place. Defines
# NCCL::NCCL and NCCL_VERSION.
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaFolders.cmake)
nvidia_library(NCCL nccl.h nccl 2)
if(NCCL_INCLUDE_DIR)
  nvidia_version(NCCL_VERSION ${NCCL_INCLUDE_DIR}/nccl.h NCCL MAJOR MINOR PATCH)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR VERSION_VAR NCCL_VERSION)
if(NCCL_FOUND)
  nvidia_target(NCCL::NCCL ${NCCL_INCLUDE_DIR} ${NCCL_LIBRARY})
endif()
