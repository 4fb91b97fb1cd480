// Purpose: the scalar maths of one optimizer update, written once: looped over on the CPU, launched on a GPU. A rule is
//   one step's worth of constants, all of them worked out on the host in double and rounded once; without_decay() is
//   the same without weight decay.
// Thread safety: values; calls on different elements are independent.
// Invariants: the operations and their order are those of PyTorch's single-tensor optimizers; every operation rounds
//   (no contraction), so an element's bits do not depend on where in a vector it stands. No rule branches on data or on
//   settings: a setting that is off is a coefficient of 0 or 1, which leaves finite values as they are. The state
//   buffers are zero before the first step.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
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

/// RMSprop (Tieleman and Hinton, 2012) as torch.optim.RMSprop without centring or momentum:
///   g += weight_decay p;  v = alpha v + (1 - alpha) g^2;  p -= lr g / (sqrt(v) + epsilon).
struct RmspropRule {
  static constexpr int state_buffers = 1;
  float lr = 0;
  float weight_decay = 0;
  float square_decay = 0;  ///< alpha
  float square_share = 0;  ///< 1 - alpha
  float epsilon = 0;

  DPTRAIN_HD RmspropRule without_decay() const {
    RmspropRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }
  /// What the gradient is divided by, as a quotient.
  DPTRAIN_HD float scaled(float parameter, float gradient, float& square) const {
    gradient = gradient + weight_decay * parameter;
    square = square * square_decay + square_share * gradient * gradient;
    return gradient / (std::sqrt(square) + epsilon);
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& square) const {
    parameter = parameter + -lr * scaled(parameter, gradient, square);
  }
};

/// The same with momentum: b = momentum b + g / (sqrt(v) + epsilon);  p -= lr b.
struct RmspropMomentumRule {
  static constexpr int state_buffers = 2;
  RmspropRule scale;
  float momentum = 0;

  DPTRAIN_HD RmspropMomentumRule without_decay() const {
    RmspropMomentumRule rule = *this;
    rule.scale = scale.without_decay();
    return rule;
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& square, float& momentum_buffer) const {
    momentum_buffer = momentum_buffer * momentum + scale.scaled(parameter, gradient, square);
    parameter = parameter + -scale.lr * momentum_buffer;
  }
};

/// Adagrad (Duchi et al., 2011) as torch.optim.Adagrad: g += weight_decay p;  s += g^2;  p -= lr g / (sqrt(s) + epsilon).
struct AdagradRule {
  static constexpr int state_buffers = 1;
  float lr = 0;  ///< after Adagrad's own decay of it
  float weight_decay = 0;
  float epsilon = 0;

  DPTRAIN_HD AdagradRule without_decay() const {
    AdagradRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& sum) const {
    gradient = gradient + weight_decay * parameter;
    sum = sum + gradient * gradient;
    parameter = parameter + -lr * (gradient / (std::sqrt(sum) + epsilon));
  }
};

// The rules of LARS, LAMB and Muon are for one tensor at a time: see tensor_update.h in kernels/cpu/ and kernels/cuda/.

/// Sums of squares of a tensor, or of a part of it: of its parameters, and of what the update goes by, which is LARS's
/// gradient, LAMB's direction, or the direction of Muon's matrices.
struct TensorSquares {
  double parameters = 0, update = 0;
};

/// LARS (You et al., 2017), momentum as torch.optim.SGD has it: b = momentum b + adaptation (g + weight_decay p);  p -= lr b.
struct LarsRule {
  static constexpr int state_buffers = 1;
  float lr = 0;
  float weight_decay = 0;
  float momentum = 0;
  float trust_coefficient = 0;
  float epsilon = 0;
  float adaptation = 1;

  DPTRAIN_HD LarsRule without_decay() const {
    LarsRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }
  /// With trust_coefficient |p| / (|g| + weight_decay |p| + epsilon), or 1 where either norm is 0.
  DPTRAIN_HD LarsRule adapted(const TensorSquares& tensor) const {
    const double parameters = std::sqrt(tensor.parameters), update = std::sqrt(tensor.update);
    const double with_decay = update + static_cast<double>(weight_decay) * parameters + static_cast<double>(epsilon);
    LarsRule rule = *this;
    rule.adaptation = parameters > 0 && update > 0
                          ? static_cast<float>(static_cast<double>(trust_coefficient) * parameters / with_decay)
                          : 1.0f;
    return rule;
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& momentum_buffer) const {
    gradient = adaptation * (gradient + weight_decay * parameter);
    momentum_buffer = momentum_buffer * momentum + gradient;
    parameter = parameter + -lr * momentum_buffer;
  }
};

/// LAMB (You et al., 2019), with the corrections of Adam's averages: r = m' / (sqrt(v') + epsilon) + weight_decay p;
///   p -= lr adaptation r.
struct LambRule {
  static constexpr int state_buffers = 2;
  float lr = 0;
  float weight_decay = 0;
  float average_decay = 0, average_share = 0;  ///< beta1, 1 - beta1
  float square_decay = 0, square_share = 0;    ///< beta2, 1 - beta2
  float average_correction = 1;                ///< 1 / (1 - beta1^t)
  float square_correction = 1;                 ///< sqrt(1 - beta2^t)
  float epsilon = 0;
  float adaptation = 1;

  DPTRAIN_HD LambRule without_decay() const {
    LambRule rule = *this;
    rule.weight_decay = 0;
    return rule;
  }
  /// With |p| / |r|, or 1 where either norm is 0.
  DPTRAIN_HD LambRule adapted(const TensorSquares& tensor) const {
    const double parameters = std::sqrt(tensor.parameters), update = std::sqrt(tensor.update);
    LambRule rule = *this;
    rule.adaptation = parameters > 0 && update > 0 ? static_cast<float>(parameters / update) : 1.0f;
    return rule;
  }
  DPTRAIN_HD void advance(float gradient, float& average, float& square) const {
    average = average * average_decay + average_share * gradient;
    square = square * square_decay + square_share * gradient * gradient;
  }
  DPTRAIN_HD float direction(float parameter, float average, float square) const {
    return average * average_correction / (std::sqrt(square) / square_correction + epsilon) + weight_decay * parameter;
  }
  DPTRAIN_HD void step(float& parameter, float average, float square) const {
    parameter = parameter + -(lr * adaptation) * direction(parameter, average, square);
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& average, float& square) const {
    advance(gradient, average, square);
    step(parameter, average, square);
  }
};

/// Muon (Jordan, 2024) as torch.optim.Muon for matrices; everything else is AdamW's.
struct MuonRule {
  static constexpr int state_buffers = 2;
  AdamRule others;
  float gradient_share = 0;   ///< 1 - momentum: b += gradient_share (g - b)
  float lookback = 0;         ///< the gradient's share of the direction: 1 - momentum with Nesterov, else 0
  float parameter_scale = 1;  ///< 1 - lr weight_decay
  float lr = 0;
  float epsilon = 0;  ///< the least norm that a direction is divided by
  int iterations = 0;
  bool match_adamw = false;  ///< a matrix's steps are as large as AdamW's, not as its shape has it

  DPTRAIN_HD MuonRule without_decay() const {
    MuonRule rule = *this;
    rule.others = others.without_decay();
    return rule;
  }
  /// The direction of a matrix's element, before the matrix is made orthogonal.
  DPTRAIN_HD float direction(float gradient, float& momentum_buffer) const {
    momentum_buffer = momentum_buffer + gradient_share * (gradient - momentum_buffer);
    return momentum_buffer + lookback * (gradient - momentum_buffer);
  }
  /// How many times the learning rate the step of a matrix (rows, columns) is, in canonical form.
  float step_scale(std::int64_t rows, std::int64_t columns) const {
    const auto high = static_cast<double>(rows), wide = static_cast<double>(columns);
    return static_cast<float>(match_adamw ? 0.2 * std::sqrt(high > wide ? high : wide)
                                          : std::sqrt(high > wide ? high / wide : 1.0));
  }
  /// A matrix's step once its direction is orthogonal; `scale` is step_scale().
  DPTRAIN_HD void step_matrix(float& parameter, float direction, float scale) const {
    parameter = parameter * parameter_scale + -lr * scale * direction;
  }
  DPTRAIN_HD void operator()(float& parameter, float gradient, float& average, float& square) const {
    others(parameter, gradient, average, square);
  }
};

/// What is not trained, such as a running mean: the gradient is the mean over the step's samples of the value seen, and
/// the statistic goes part of the way to it: v += rate (mean - v).
struct StatisticRule {
  static constexpr int state_buffers = 0;
  float rate = 0;

  DPTRAIN_HD StatisticRule without_decay() const { return *this; }
  DPTRAIN_HD void operator()(float& value, float mean) const {
    value = rate == 0 ? value : value + rate * (mean - value);
  }
};

using UpdateRule = std::variant<SgdRule, MomentumRule, AdamRule, RmspropRule, RmspropMomentumRule, AdagradRule,
                                LarsRule, LambRule, MuonRule, StatisticRule>;

/// An exponential moving average of the parameters, after each update: a = kept a + share p.
struct AverageRule {
  float kept = 0, share = 1;

  DPTRAIN_HD void operator()(float& average, float parameter) const { average = average * kept + share * parameter; }
};

/// All that one step applies.
struct StepUpdate {
  UpdateRule rule;
  AverageRule average;  ///< where the run keeps one

  StepUpdate(UpdateRule applied = {}, AverageRule averaged = {}) : rule(applied), average(averaged) {}
};

/// The rule for parameters that do not decay.
inline UpdateRule without_decay(const UpdateRule& rule) {
  return std::visit([](const auto& named) -> UpdateRule { return named.without_decay(); }, rule);
}

}  // namespace dptrain
