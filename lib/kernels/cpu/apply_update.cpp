#include "kernels/cpu/apply_update.h"

#include "core/error.h"

namespace dptrain {
namespace {

// The rule is taken by value so that its constants live in registers; restrict spares the overlap tests. The loop that
// results vectorises, body and tail doing the same operations on every element.
template <class Rule>
void update_elements(const Rule rule, std::size_t count, float* __restrict parameters,
                     const float* __restrict gradients, [[maybe_unused]] float* __restrict state0,
                     [[maybe_unused]] float* __restrict state1) {
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (Rule::state_buffers == 0) rule(parameters[i], gradients[i]);
    if constexpr (Rule::state_buffers == 1) rule(parameters[i], gradients[i], state0[i]);
    if constexpr (Rule::state_buffers == 2) rule(parameters[i], gradients[i], state0[i], state1[i]);
  }
}

}  // namespace

void apply_update(const UpdateRule& rule, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> state0, std::span<float> state1) {
  const std::size_t count = parameters.size();
  DPTRAIN_CHECK(gradients.size() == count, "{} gradients for {} parameters", gradients.size(), count);
  std::visit(
      [&](const auto& named) {
        constexpr int buffers = std::decay_t<decltype(named)>::state_buffers;
        DPTRAIN_CHECK(buffers < 1 || state0.size() == count, "{} elements of state for {} parameters", state0.size(),
                      count);
        DPTRAIN_CHECK(buffers < 2 || state1.size() == count, "{} elements of state for {} parameters", state1.size(),
                      count);
        update_elements(named, count, parameters.data(), gradients.data(), state0.data(), state1.data());
      },
      rule);
}

}  // namespace dptrain
