# Finds cuDNN 9 in the CUDA toolkit, in Python wheels or in the system's folders; cuDNN_ROOT names another place. Defines
# cuDNN::cuDNN and cuDNN_VERSION.
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaFolders.cmake)
nvidia_library(cuDNN cudnn_graph.h cudnn 9)
if(cuDNN_INCLUDE_DIR AND EXISTS ${cuDNN_INCLUDE_DIR}/cudnn_version.h)
  nvidia_version(cuDNN_VERSION ${cuDNN_INCLUDE_DIR}/cudnn_version.h CUDNN MAJOR MINOR PATCHLEVEL)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuDNN REQUIRED_VARS cuDNN_LIBRARY cuDNN_INCLUDE_DIR VERSION_VAR cuDNN_VERSION)
if(cuDNN_FOUND)
  nvidia_target(cuDNN::cuDNN ${cuDNN_INCLUDE_DIR} ${cuDNN_LIBRARY})
endif()
