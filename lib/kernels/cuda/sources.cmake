# The sources of kernels_cuda, for its own build and for the one against the tests' fake of CUDA.
set(kernels_cuda_sources activations.cu  cuda_kernels.cpp dropout.cu losses.cu matrices.cu pool.cu
                         unary_operations.cpp update.cu)
