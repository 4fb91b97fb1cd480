// Purpose: starting values of parameters. Kaiming: He et al. 2015, eq. 10 and 14; Xavier: Glorot and Bengio 2010, eq.
//   16. The default is that of PyTorch's linear and conv2d: uniform within 1 / sqrt(fan_in), weights and biases alike.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/layer.h"

namespace dptrain {

/// Canonical values of parameter `index` of layer `layer`; each element is a function of (seed, layer, index, element).
std::vector<float> initial_values(const ParameterDesc& desc, std::uint64_t seed, std::uint32_t layer,
                                  std::uint32_t index);

}  // namespace dptrain
