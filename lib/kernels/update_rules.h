// Purpose: the scalar maths of one optimizer update, written once: looped over on the CPU, launched on a GPU. A rule is
//   one step's worth of constants, all of them worked out on the host in double and rounded once; without_decay() is the
//   same without weight decay.
// Thread safety: values; calls on different elements are independent.
// Invariants: the operations and their order are those of PyTorch's single-tensor optimizers; every operation rounds
//   (no contraction), so an element's bits do not depend on where in a vector it stands. No rule branches on data or on
//   settings: a setting that is off is a coefficient of 0 or 1, which leaves finite values as they are. The state
//   buffers are zero before the first step.
#pragma once

#include <cmath>
#include <cstddef>
#include <variant>

#include "core/host_device.h"

namespace dptrain {

/// Stochastic gradient descent without momentum: p -= lr (g + weight_decay p).
struct SgdRule {
  static constexpr int state_buffers = 0;
  float lr = 0;
  float weight_decay = 0;

  DPTRAIN_HD SgdRule without_decay() const {
    SgdRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }

  DPTRAIN_HD void operator()(float& parameter, float gradient) const {
    gradient = gradient + weight_decay * parameter;
    parameter = parameter + -lr * gradient;
  }
};

/// Stochastic gradient descent with (Nesterov) momentum as torch.optim.SGD defines it:
///   g += weight_decay p;  b = momentum b + (1 - dampening) g, but b = g in the first step;
///   p -= lr b, or with Nesterov's p -= lr (g + momentum b).
struct MomentumRule {
  static constexpr int state_buffers = 1;
  float lr = 0;
  float weight_decay = 0;
  float buffer_decay = 0;    ///< momentum; the buffer's share of the new buffer
  float gradient_share = 1;  ///< 1 - dampening, and 1 in the first step; the gradient's share of the new buffer
  float lookahead = 0;       ///< the gradient's share of the update: 1 with Nesterov, else 0
  float buffer_share = 1;    ///< the new buffer's share of the update: momentum with Nesterov, else 1

  DPTRAIN_HD MomentumRule without_decay() const {
    MomentumRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }

  DPTRAIN_HD void operator()(float& parameter, float gradient, float& momentum_buffer) const {
    gradient = gradient + weight_decay * parameter;
    momentum_buffer = momentum_buffer * buffer_decay + gradient_share * gradient;
    const float update = lookahead * gradient + buffer_share * momentum_buffer;
    parameter = parameter + -lr * update;
  }
};

/// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019) as torch.optim.Adam and AdamW define them:
///   coupled decay g += weight_decay p, decoupled decay p *= 1 - lr weight_decay; m, v the running means of g and g^2;
///   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon).
struct AdamRule {
  static constexpr int state_buffers = 2;
  float step_size = 0;              ///< lr / (1 - beta1^t), t counting from 1
  float coupled_decay = 0;          ///< Adam's weight_decay; 0 for AdamW
  float parameter_scale = 1;        ///< AdamW's 1 - lr weight_decay; 1 for Adam
  float average_weight = 0;         ///< of (g - m), see lerp_from_gradient
  bool lerp_from_gradient = false;  ///< m = m + w (g - m) for w < 0.5, m = g - (1 - w) (g - m) otherwise; w = 1 - beta1
  float square_decay = 0;           ///< beta2
  float square_share = 0;           ///< 1 - beta2
  float square_correction = 1;      ///< sqrt(1 - beta2^t)
  float epsilon = 0;

  DPTRAIN_HD AdamRule without_decay() const {
    AdamRule rule = *this;
    rule.coupled_decay = 0;
    rule.parameter_scale = 1;
    return rule;
  }

  DPTRAIN_HD void operator()(float& parameter, float gradient, float& average, float& square) const {
    const float decayed = parameter * parameter_scale;
    gradient = gradient + coupled_decay * parameter;
    const float base = lerp_from_gradient ? gradient : average;
    average = base + average_weight * (gradient - average);
    square = square * square_decay + square_share * gradient * gradient;
    const float denominator = std::sqrt(square) / square_correction + epsilon;
    parameter = decayed + -step_size * average / denominator;
  }
};

/// What is not trained, such as a running mean: the gradient is the mean over the step's samples of the value seen, and the
/// statistic goes part of the way to it: v += rate (mean - v).
struct StatisticRule {
  static constexpr int state_buffers = 0;
  float rate = 0;

  DPTRAIN_HD StatisticRule without_decay() const { return *this; }
  DPTRAIN_HD void operator()(float& value, float mean) const { value = value + rate * (mean - value); }
};

using UpdateRule = std::variant<SgdRule, MomentumRule, AdamRule, StatisticRule>;

/// The rule for parameters that do not decay.
inline UpdateRule without_decay(const UpdateRule& rule) {
  return std::visit([](const auto& named) -> UpdateRule { return named.without_decay(); }, rule);
}

}  // namespace dptrain
