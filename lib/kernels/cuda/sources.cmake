# The sources of kernels_cuda, for its own build and for the one against the tests' fake of CUDA.
set(kernels_cuda_sources activations.cu context.cpp convolution.cpp cuda_kernels.cpp dropout.cu engines.cpp graph.cpp images.cu
                         library_status.cpp
                         linear.cpp losses.cu matrices.cu norm.cu norm_rows.cu norm_operation.cpp row_sums.cu add.cu parameter_copies.cpp plan.cpp pool.cu product.cpp unary_operations.cpp update.cu views.cu)
