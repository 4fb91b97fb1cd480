#include "kernels/cpu/tensor_update.h"

#include <cmath>

#include "core/error.h"
#include "kernels/cpu/apply_update.h"

namespace dptrain {

namespace {

double square(float value) {
  return static_cast<double>(value) * static_cast<double>(value);
}

}  // namespace

bool adapts(const UpdateRule& rule) {
  return std::holds_alternative<LarsRule>(rule) || std::holds_alternative<LambRule>(rule);
}

PartSquares measure_part(const UpdateRule& rule, const TensorPart& part) {
  PartSquares squares;
  for (const float value : part.parameters) squares.parameters += square(value);
  const auto* lamb = std::get_if<LambRule>(&rule);
  if (lamb == nullptr) {
    for (const float value : part.gradients) squares.update += square(value);
    return squares;
  }
  const LambRule named = *lamb;
  const std::size_t count = part.parameters.size();
  const float* __restrict gradients = part.gradients.data();
  float* __restrict average = part.state0.data(), * __restrict squared = part.state1.data();
  for (std::size_t i = 0; i < count; ++i) named.advance(gradients[i], average[i], squared[i]);
  for (std::size_t i = 0; i < count; ++i)
    squares.update += square(named.direction(part.parameters[i], average[i], squared[i]));
  return squares;
}

UpdateRule adapted(const UpdateRule& rule, const PartSquares& tensor) {
  const double parameters = std::sqrt(tensor.parameters), update = std::sqrt(tensor.update);
  if (const auto* lars = std::get_if<LarsRule>(&rule)) {
    LarsRule named = *lars;
    const double with_decay =
        update + static_cast<double>(named.weight_decay) * parameters + static_cast<double>(named.epsilon);
    named.adaptation = parameters > 0 && update > 0
                           ? static_cast<float>(static_cast<double>(named.trust_coefficient) * parameters / with_decay)
                           : 1.0f;
    return named;
  }
  LambRule named = std::get<LambRule>(rule);
  named.adaptation = parameters > 0 && update > 0 ? static_cast<float>(parameters / update) : 1.0f;
  return named;
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
