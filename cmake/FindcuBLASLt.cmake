# Finds cuBLASLt where the toolkit is without it: in Python wheels or in the system's folders. Defines CUDA::cublasLt.
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaFolders.cmake)
nvidia_library(cuBLASLt cublasLt.h cublasLt "${CUDAToolkit_VERSION_MAJOR}")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cuBLASLt REQUIRED_VARS cuBLASLt_LIBRARY cuBLASLt_INCLUDE_DIR)
if(cuBLASLt_FOUND)
  nvidia_target(CUDA::cublasLt ${cuBLASLt_INCLUDE_DIR} ${cuBLASLt_LIBRARY})
endif()
