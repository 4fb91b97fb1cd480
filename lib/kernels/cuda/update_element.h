// Purpose: the sum and the update of one element, which the kernels of update.cu, gradient_norm.cu and tensor_update.cu
//   have in common. For .cu files alone.
// Thread safety: as the rules of update_rules.h.
#pragma once

#include <type_traits>

#include "core/host_device.h"
#include "kernels/cuda/update.h"

namespace dptrain::cuda {

DPTRAIN_HD inline float ordered_sum(const SumOrder& order, std::int64_t i) {
  if (order.length == 1) return order.leaves[0][i];
  float stack[SumOrder::kDeepest];
  int height = 0;
  for (int k = 0; k < order.length; ++k) {
    const int item = order.postfix[k];
    if (item != SumOrder::kAdd) {
      stack[height++] = order.leaves[item][i];
      continue;
    }
    --height;
    stack[height - 1] += stack[height];
  }
  return stack[0];
}

template <class Rule>
DPTRAIN_HD const Rule& rule_of(const StepConstants& step) {
  if constexpr (std::is_same_v<Rule, SgdRule>) return step.sgd;
  if constexpr (std::is_same_v<Rule, MomentumRule>) return step.momentum;
  if constexpr (std::is_same_v<Rule, AdamRule>) return step.adam;
  if constexpr (std::is_same_v<Rule, RmspropRule>) return step.rmsprop;
  if constexpr (std::is_same_v<Rule, RmspropMomentumRule>) return step.rmsprop_momentum;
  if constexpr (std::is_same_v<Rule, AdagradRule>) return step.adagrad;
  if constexpr (std::is_same_v<Rule, LarsRule>) return step.lars;
  if constexpr (std::is_same_v<Rule, LambRule>) return step.lamb;
  if constexpr (std::is_same_v<Rule, MuonRule>) return step.muon;
}

DPTRAIN_HD inline UpdateBlock block_of(Blocks blocks, std::int64_t i) {
  return blocks == nullptr ? UpdateBlock{} : blocks[i / kUpdateBlock];
}

template <class Rule>
DPTRAIN_HD void train(const Rule& rule, const Target& target, float gradient, std::int64_t i) {
  if constexpr (Rule::state_buffers == 0) rule(target.parameters[i], gradient);
  if constexpr (Rule::state_buffers == 1) rule(target.parameters[i], gradient, target.state0[i]);
  if constexpr (Rule::state_buffers == 2) rule(target.parameters[i], gradient, target.state0[i], target.state1[i]);
}

}  // namespace dptrain::cuda
