// Purpose: what a job chooses of any dataset, whatever its format: how many samples, and of what extents.
// Thread safety: pure functions. Errors (usage), at the place of the key in the job spec: a choice that the dataset
//   cannot meet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/shape.h"
#include "spec/job_spec.h"

namespace dptrain {

[[noreturn]] void spec_error(const SourceMark& at, const std::string& message);

/// How many samples to use, of the `available` ones.
std::int64_t chosen_train_samples(const DatasetSpec& spec, std::int64_t available);
std::int64_t chosen_test_samples(const DatasetSpec& spec, std::int64_t available);

/// As samples of `shape` are stored: `resize` where the job has it.
Shape resized_shape(const DatasetSpec& spec, const Shape& shape);

/// The model's shape, of images that are stored as `shape`.
Shape augmented_shape(const DatasetSpec& spec, const Shape& shape);

}  // namespace dptrain
