# The CUDA compiler, for GPUs from compute capability 8.0 (A100) on: machine code for 8.0 and 9.0, PTX for what comes later.

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
find_package(CUDAToolkit 12.4 REQUIRED)   # NVIDIA's toolkit: compiler and runtime
enable_language(CUDA)
# CMake 3.25 does not know how this compiler is asked for C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
message(STATUS "CUDA ${CUDAToolkit_VERSION} in ${CUDAToolkit_BIN_DIR}")
