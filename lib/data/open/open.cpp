#include "data/open/open.h"

#include <optional>

#include "core/error.h"
#include "data/descriptors.h"
#include "data/files/fetch.h"
#include "data/files/locate.h"
#include "data/formats/digits.h"
#include "data/open/choices.h"
#include "data/open/cifar.h"
#include "data/open/digits.h"
#include "data/open/idx.h"
#include "data/open/images.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// The name of the one generated dataset; `format: generated` without a name means it.
const char* const kDigits = "digits";

/// Checks that a descriptor asks for nothing that this build cannot read or make.
void check_supported(const DatasetSpec& spec, const DatasetDescriptor& descriptor) {
  const std::string file = descriptor.source.string();
  const Shape& shape = descriptor.shape;
  const bool in_colour = descriptor.format == DatasetFormat::cifar || descriptor.format == DatasetFormat::image_tar;
  if (!in_colour && (shape.rank() != 3 || shape[0] != 1 || descriptor.mean.size() != 1 || descriptor.std.size() != 1)) {
    fail(ExitStatus::usage, "{}: expected a shape of [1, height, width] with one mean and one std", file);
  }
  if (descriptor.format == DatasetFormat::cifar &&
      (shape != Shape{3, 32, 32} || (descriptor.classes != 10 && descriptor.classes != 100))) {
    fail(ExitStatus::usage, "{}: CIFAR's images are 3x32x32, of 10 or 100 classes", file);
  }
  if (in_colour && (shape.rank() != 3 || (shape[0] != 1 && shape[0] != 3))) {
    fail(ExitStatus::usage, "{}: expected a shape of [1 or 3, height, width]", file);
  }
  if (spec.resize && descriptor.format != DatasetFormat::image_tar)
    spec_error(spec.resize_at, fmt::format("dataset.resize: {} is no tar of images; remove it", descriptor.name));
  if (spec.on_bad_sample == OnBadSample::skip && descriptor.format != DatasetFormat::image_tar) {
    spec_error(spec.on_bad_sample_at,
               fmt::format("dataset.on_bad_sample: skip is for images that are decoded one by one; {} is not of "
                           "those; remove it",
                           descriptor.name));
  }
  if (descriptor.format != DatasetFormat::generated) {
    if (spec.generator_seed != 1)
      spec_error(spec.seed_at, fmt::format("dataset.seed: {} is not generated; remove it", descriptor.name));
    return;
  }
  if (descriptor.name != kDigits || descriptor.shape != Shape{1, kDigitExtent, kDigitExtent} ||
      descriptor.classes != 10) {
    fail(ExitStatus::usage, "{}: the only generated dataset is {}, 1x28x28 with 10 classes", file, kDigits);
  }
  if (!spec.path.empty())
    spec_error(spec.path_at, fmt::format("dataset.path: {} is generated and has no files; remove it", kDigits));
}

/// The descriptor that the job asks for; an unknown name is told with its place in the job spec.
DatasetDescriptor spec_descriptor(const DatasetSpec& spec) {
  DatasetDescriptor descriptor;
  try {
    descriptor = find_descriptor(spec.name.empty() ? kDigits : spec.name);
  } catch (const UnknownDataset& error) {
    spec_error(spec.at, error.what());
  }
  check_supported(spec, descriptor);
  return descriptor;
}

/// Downloads into the cache. Where that is not possible the message says where was looked and what to do.
fs::path fetch_or_explain(const DatasetDescriptor& descriptor, const std::vector<TriedPlace>& tried,
                          const DataOptions& options) {
  try {
    const fs::path folder = cache_folder(descriptor.name);
    download_dataset(descriptor, folder, options, false);
    return folder;
  } catch (const Error& error) {
    std::string message = fmt::format("dataset {} was not found. Looked in:\n", descriptor.name);
    for (const TriedPlace& place : tried) message += fmt::format("  {}: {}\n", place.folder.string(), place.why);
    message += fmt::format("and could not download it: {}\n", error.what());
    message += fmt::format(
        "Ways out: put its files into one of those folders; set DPTRAIN_DATA to a folder that holds {1}/; "
        "set dataset.path in the job; or run `dptrain data fetch {0}` where there is a network.",
        descriptor.name, descriptor.folder);
    throw Error(error.status(), message);
  }
}

DatasetPair open_described(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const DataOptions& options) {
  if (descriptor.format == DatasetFormat::generated) return open_digits(spec, descriptor, options);
  std::vector<TriedPlace> tried;
  std::optional<fs::path> folder = find_dataset(descriptor, spec.path, tried);
  if (!folder) folder = fetch_or_explain(descriptor, tried, options);
  if (!spec.path.empty() && *folder != spec.path && options.warning) {
    options.warning(fmt::format("dataset.path: {}: {}; {} is read from {}", spec.path.string(), tried.front().why,
                                descriptor.name, folder->string()));
  }
  if (descriptor.format == DatasetFormat::idx) return open_described_idx(spec, descriptor, *folder, options);
  if (descriptor.format == DatasetFormat::cifar) return open_described_cifar(spec, descriptor, *folder, options);
  return open_described_images(spec, descriptor, *folder, options);
}

/// The counts are those of all samples; of generated ones as many as may be asked for, where the job asks.
DatasetInfo inspect_described(const DatasetSpec& spec) {
  const DatasetDescriptor descriptor = spec_descriptor(spec);
  const bool is_generated = descriptor.format == DatasetFormat::generated;
  return {descriptor.name, augmented_shape(spec, resized_shape(spec, descriptor.shape)), descriptor.classes,
          is_generated && spec.train_samples ? kMostDigits : descriptor.train_samples,
          is_generated && spec.test_samples ? kMostDigits : descriptor.test_samples};
}

/// The format of files that are given by their path; empty where a descriptor says what there is.
std::optional<DatasetFormat> format_of_path(const DatasetSpec& spec) {
  if (!spec.name.empty() || spec.format == DatasetFormat::generated) return std::nullopt;
  return spec.format;
}

}  // namespace

DatasetInfo inspect_dataset(const DatasetSpec& spec, const DataOptions& options) {
  const std::optional<DatasetFormat> format = format_of_path(spec);
  DatasetInfo info = !format                           ? inspect_described(spec)
                     : *format == DatasetFormat::idx   ? inspect_idx_folder(spec, options)
                     : *format == DatasetFormat::cifar ? inspect_cifar_folder(spec)
                                                       : inspect_images(spec, options);
  info.train_samples = chosen_train_samples(spec, info.train_samples);
  info.test_samples = chosen_test_samples(spec, info.test_samples);
  return info;
}

DatasetPair open_dataset(const DatasetSpec& spec, const DataOptions& options, const DatasetInfo& known) {
  const std::optional<DatasetFormat> format = format_of_path(spec);
  if (!format) return open_described(spec, spec_descriptor(spec), options);
  if (*format == DatasetFormat::idx) return open_idx_folder(spec, options);
  if (*format == DatasetFormat::cifar) return open_cifar_folder(spec, options);
  return open_images(spec, options, known.files);
}

}  // namespace dptrain
