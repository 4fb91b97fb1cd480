#include "data/open/choices.h"

#include "core/error.h"
#include "data/images/augment.h"
#include "spec/reader.h"

namespace dptrain {

namespace {

std::int64_t chosen(const std::optional<std::int64_t>& wanted, std::int64_t available, const char* key,
                    const SourceMark& at) {
  const std::int64_t samples = wanted.value_or(available);
  if (samples < 1 || samples > available)
    spec_error(at, fmt::format("dataset.{}: {} is out of range; expected 1 to {}", key, samples, available));
  return samples;
}

}  // namespace

[[noreturn]] void spec_error(const SourceMark& at, const std::string& message) {
  throw Error(ExitStatus::usage, at.file.empty() ? message : complaint(at, message));
}

std::int64_t chosen_train_samples(const DatasetSpec& spec, std::int64_t available) {
  return chosen(spec.train_samples, available, "train_samples", spec.train_samples_at);
}

std::int64_t chosen_test_samples(const DatasetSpec& spec, std::int64_t available) {
  return chosen(spec.test_samples, available, "test_samples", spec.test_samples_at);
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
    spec_error(spec.augment_at, error.what());
  }
}

}  // namespace dptrain
