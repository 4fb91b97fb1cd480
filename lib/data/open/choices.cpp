#include "data/open/choices.h"

#include "core/error.h"
#include "data/images/augment.h"
#include "spec/reader.h"

namespace dptrain {

[[noreturn]] void spec_error(const DatasetSpec& spec, const std::string& message) {
  throw Error(ExitStatus::usage, spec.at.line > 0 ? complaint(spec.at, message) : message);
}

std::int64_t chosen_samples(const DatasetSpec& spec, const std::optional<std::int64_t>& wanted, const char* key,
                            std::int64_t available) {
  const std::int64_t samples = wanted.value_or(available);
  if (samples < 1 || samples > available) {
    spec_error(spec, fmt::format("dataset.{}: {} is out of range; expected 1 to {}", key, samples, available));
  }
  return samples;
}

Shape resized_shape(const DatasetSpec& spec, const Shape& shape) {
  return spec.resize ? Shape{shape[0], spec.resize->first, spec.resize->second} : shape;
}

Shape augmented_shape(const DatasetSpec& spec, const Shape& shape) {
  if (spec.augment.empty()) return shape;
  const std::vector<float> mean(static_cast<std::size_t>(shape[0]), 0.0f);
  try {
    return Augmenter(shape, spec.augment, mean, fmt::format("images of {}", shape.text())).output();
  } catch (const Error& error) {
    if (error.status() != ExitStatus::usage) throw;
    spec_error(spec, error.what());
  }
}

}  // namespace dptrain
