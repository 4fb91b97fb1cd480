// Purpose: what a job says of its dataset, and what is done to its samples. Part of JobSpec.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "spec/source_mark.h"

namespace dptrain {

enum class DatasetFormat { idx, generated, cifar, image_folder, image_tar };

/// What is done to a training sample each time it is used, drawn anew for each epoch and sample. Extents of 0: the
/// image's own.
struct RandomCropSpec {
  std::int64_t height = 0, width = 0;
  std::int64_t padding = 0;  ///< black pixels put on each side first
  bool operator==(const RandomCropSpec&) const = default;
};
struct HorizontalFlipSpec {
  double probability = 0.5;
  bool operator==(const HorizontalFlipSpec&) const = default;
};
/// A square with the mean colour, its centre anywhere in the image.
struct CutoutSpec {
  std::int64_t size = 0;
  bool operator==(const CutoutSpec&) const = default;
};
/// A part of the image's area, with width / height drawn evenly in its logarithm, scaled to the extents.
struct RandomResizedCropSpec {
  std::int64_t height = 0, width = 0;
  double scale_min = 0.08, scale_max = 1;
  double ratio_min = 0.75, ratio_max = 4.0 / 3.0;
  bool operator==(const RandomResizedCropSpec&) const = default;
};
/// Each factor is drawn from [max(0, 1 - x), 1 + x]; in this order. The hue is turned by a part of the circle from
/// [-hue, hue].
struct ColourJitterSpec {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  bool operator==(const ColourJitterSpec&) const = default;
};
using AugmentSpec =
    std::variant<RandomCropSpec, HorizontalFlipSpec, CutoutSpec, RandomResizedCropSpec, ColourJitterSpec>;

/// What a sample that cannot be read leads to: the run ends, or the next readable one takes its place.
enum class OnBadSample { stop, skip };

/// `dataset:` either names a descriptor (datasets/NAME.yaml) or gives a format and a path.
struct DatasetSpec {
  std::string name;                           ///< descriptor's name; empty where `format` and `path` are given instead
  std::optional<DatasetFormat> format;        ///< set where `name` is empty
  std::filesystem::path path;                 ///< folder with the files; may be empty with `name`
  std::optional<std::int64_t> train_samples;  ///< generated datasets: how many to make; others: use the first so many
  std::optional<std::int64_t> test_samples;
  std::uint64_t generator_seed = 1;                             ///< generated datasets only (`dataset.seed`)
  std::optional<std::pair<std::int64_t, std::int64_t>> resize;  ///< height, width; image folders and tars only
  std::optional<std::int64_t> channels;                         ///< 1 or 3; image folders and tars given by path only
  std::vector<AugmentSpec> augment;                             ///< in order; training set only
  OnBadSample on_bad_sample = OnBadSample::stop;
  SourceMark at;  ///< of the name or the format
  SourceMark path_at, train_samples_at, test_samples_at, seed_at, resize_at, augment_at, on_bad_sample_at;
  bool operator==(const DatasetSpec&) const = default;
};

}  // namespace dptrain
