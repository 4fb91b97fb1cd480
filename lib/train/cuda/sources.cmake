# The sources of replicas on GPUs, for their own build and for the one against the tests' fake of CUDA.
set(train_cuda_sources
    cuda/cuda_backend.cpp cuda/cuda_lockstep.cpp cuda/cuda_reducer.cpp cuda/cuda_replica.cpp
    cuda/cuda_tensor_updates.cpp cuda/diagnose_on_gpu.cpp cuda/evaluate_on_gpu.cpp cuda/gradient_watch.cpp
    cuda/nccl_reducer.cpp cuda/nccl_reducer_state.cpp cuda/nccl_reducer_wait.cpp cuda/resident_images.cpp
    cuda/single_micro_batches.cpp cuda/steps_on_gpu.cpp cuda/sum_order.cpp cuda/update_blocks.cpp)
