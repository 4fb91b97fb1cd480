#include "kernels/cpu/tensor_update.h"

#include "core/error.h"
#include "kernels/cpu/apply_update.h"

namespace dptrain {

namespace {

constexpr std::size_t kLanes = 16;

/// The sum of the squares of value(0), ..., value(count - 1): every sixteenth by itself, and those in order. Sums that
/// do not wait for each other are several times as fast.
template <class Value>
double sum_of_squares(std::size_t count, const Value& value) {
  double lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t k = 0; k < kLanes; ++k) {
      const auto v = static_cast<double>(value(i + k));
      lanes[k] += v * v;
    }
  }
  for (std::size_t k = 0; i < count; ++i, ++k) {
    const auto v = static_cast<double>(value(i));
    lanes[k] += v * v;
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

bool adapts(const UpdateRule& rule) {
  return std::holds_alternative<LarsRule>(rule) || std::holds_alternative<LambRule>(rule);
}

TensorSquares measure_part(const UpdateRule& rule, const TensorPart& part) {
  const std::size_t count = part.parameters.size();
  const float* __restrict parameters = part.parameters.data(), * __restrict gradients = part.gradients.data();
  TensorSquares squares;
  squares.parameters = sum_of_squares(count, [&](std::size_t i) { return parameters[i]; });
  const auto* lamb = std::get_if<LambRule>(&rule);
  if (lamb == nullptr) {
    squares.update = sum_of_squares(count, [&](std::size_t i) { return gradients[i]; });
    return squares;
  }
  const LambRule named = *lamb;
  float* __restrict average = part.state0.data(), * __restrict squared = part.state1.data();
  for (std::size_t i = 0; i < count; ++i) named.advance(gradients[i], average[i], squared[i]);
  squares.update =
      sum_of_squares(count, [&](std::size_t i) { return named.direction(parameters[i], average[i], squared[i]); });
  return squares;
}

UpdateRule adapted(const UpdateRule& rule, const TensorSquares& tensor) {
  if (const auto* lars = std::get_if<LarsRule>(&rule)) return lars->adapted(tensor);
  return std::get<LambRule>(rule).adapted(tensor);
}

void update_part(const UpdateRule& rule, const TensorPart& part) {
  const auto* lamb = std::get_if<LambRule>(&rule);
  if (lamb == nullptr) return apply_update(rule, part.parameters, part.gradients, part.state0, part.state1);
  const LambRule named = *lamb;  // its means went on in the first pass
  const std::size_t count = part.parameters.size();
  float* __restrict parameters = part.parameters.data();
  const float* __restrict average = part.state0.data(), * __restrict squared = part.state1.data();
  for (std::size_t i = 0; i < count; ++i) named.step(parameters[i], average[i], squared[i]);
}

}  // namespace dptrain
