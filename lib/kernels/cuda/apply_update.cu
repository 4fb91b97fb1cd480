#include <algorithm>

#include "kernels/cuda/apply_update.h"
#include "kernels/cuda/check.h"

namespace dptrain::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMostBlocks = 4096;  // more only wait for their turn: each thread strides through the buffer

template <class Rule>
__global__ void update_elements(Rule rule, std::size_t count, float* __restrict__ parameters,
                                const float* __restrict__ gradients, float* __restrict__ state0,
                                float* __restrict__ state1) {
  const std::size_t stride = std::size_t{blockDim.x} * gridDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    if constexpr (Rule::state_buffers == 0) rule(parameters[i], gradients[i]);
    if constexpr (Rule::state_buffers == 1) rule(parameters[i], gradients[i], state0[i]);
    if constexpr (Rule::state_buffers == 2) rule(parameters[i], gradients[i], state0[i], state1[i]);
  }
}

}  // namespace

void apply_update(const UpdateRule& rule, std::size_t count, float* parameters, const float* gradients, float* state0,
                  float* state1, cudaStream_t stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMostBlocks));
  std::visit(
      [&](const auto& named) {
        update_elements<<<blocks, kThreads, 0, stream>>>(named, count, parameters, gradients, state0, state1);
      },
      rule);
  check(cudaGetLastError(), "an optimizer step could not be launched");
}

}  // namespace dptrain::cuda
