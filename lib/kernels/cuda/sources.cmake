# The sources of kernels_cuda, for its own build and for the one against the tests' fake of CUDA.
set(kernels_cuda_sources
    activations.cu add.cu context.cpp convolution.cpp cuda_kernels.cpp dropout.cu engines.cpp gradient_norm.cu
    graph.cpp images.cu library_status.cpp linear.cpp linger.cu losses.cu magnitude.cu matrices.cu norm.cu norm_operation.cpp
    norm_rows.cu norm_rows_backward.cu norm_step.cu orthogonalise.cpp parameter_copies.cpp plan.cpp pool.cu
    product.cpp row_sums.cu tensor_update.cu unary_operations.cpp update.cu views.cu)
