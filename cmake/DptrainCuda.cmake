# The CUDA compiler and NVIDIA's libraries, for GPUs from compute capability 8.0 (A100) on: machine code for 8.0 and 9.0, PTX
# for what comes later. The driver (libcuda) is never linked: the runtime finds it when a program starts, so that one built
# with CUDA also starts where there is no GPU.

set(without "or configure without GPUs: cmake --preset cpu")
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
include(NvidiaFolders)
nvidia_folders(folders)
find_program(DPTRAIN_NVCC nvcc PATHS ${CUDAToolkit_ROOT} $ENV{CUDA_PATH} /usr/local/cuda ${folders}
             PATH_SUFFIXES bin)
mark_as_advanced(DPTRAIN_NVCC)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  if(NOT DPTRAIN_NVCC)
    message(FATAL_ERROR "DPTRAIN_CUDA is on, and there is no nvcc in the PATH, in /usr/local/cuda or in Python's packages: "
                        "install the CUDA toolkit, 12.4 or later; or name its compiler: "
                        "-DCMAKE_CUDA_COMPILER=FOLDER/bin/nvcc; ${without}")
  endif()
  set(CMAKE_CUDA_COMPILER ${DPTRAIN_NVCC})
endif()
find_package(CUDAToolkit 12.4 QUIET)
if(NOT CUDAToolkit_FOUND)
  message(FATAL_ERROR "CUDA toolkit 12.4 or later is needed for GPUs; found ${CUDAToolkit_VERSION} (nvcc: ${DPTRAIN_NVCC}). "
                      "Install it, name it with -DCUDAToolkit_ROOT=FOLDER, ${without}")
endif()
enable_language(CUDA)
# CMake 3.25 does not know how this compiler is asked for C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

find_package(cuDNN 9 QUIET)
find_package(NCCL 2.27.3 QUIET)
if(NOT TARGET CUDA::cublasLt)
  find_package(cuBLASLt QUIET)
endif()
set(missing)
foreach(need "cuDNN 9|cuDNN::cuDNN|cuDNN_ROOT" "NCCL 2.27.3|NCCL::NCCL|NCCL_ROOT"
             "cuBLASLt|CUDA::cublasLt|cuBLASLt_ROOT"
             "CUDA's static runtime|CUDA::cudart_static|CUDAToolkit_ROOT")
  string(REPLACE "|" ";" need "${need}")
  list(GET need 0 name)
  list(GET need 1 target)
  list(GET need 2 root)
  if(NOT TARGET ${target})
    string(APPEND missing "\n  ${name}: not found; name its folder with -D${root}=FOLDER")
  endif()
endforeach()
if(missing)
  message(FATAL_ERROR "For GPUs these are missing:${missing}\nLooked in the CUDA toolkit, in the system's folders and in the "
                      "packages of python3 (pip install nvidia-cudnn-cu${CUDAToolkit_VERSION_MAJOR} "
                      "nvidia-nccl-cu${CUDAToolkit_VERSION_MAJOR} puts them there); ${without}")
endif()

# The binary finds these libraries where they were found, installed too.
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
get_target_property(cublas CUDA::cublasLt IMPORTED_LOCATION)
message(STATUS "CUDA ${CUDAToolkit_VERSION}: ${CUDAToolkit_BIN_DIR}; for compute capabilities ${CMAKE_CUDA_ARCHITECTURES}")
message(STATUS "cuBLASLt: ${cublas}")
message(STATUS "cuDNN ${cuDNN_VERSION}: ${cuDNN_LIBRARY}")
message(STATUS "NCCL ${NCCL_VERSION}: ${NCCL_LIBRARY}")
