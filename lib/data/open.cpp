#include "data/open.h"

#include <algorithm>
#include <future>
#include <optional>
#include <thread>

#include "core/error.h"
#include "data/descriptors.h"
#include "data/fetch.h"
#include "data/formats/digits.h"
#include "data/formats/idx.h"
#include "data/image_dataset.h"
#include "data/locate.h"
#include "data/open_images.h"
#include "spec/reader.h"

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
    spec_error(spec, fmt::format("dataset.resize: {} is no tar of images; remove it", descriptor.name));
  if (descriptor.format != DatasetFormat::generated) {
    if (spec.generator_seed != 1)
      spec_error(spec, fmt::format("dataset.seed: {} is not generated; remove it", descriptor.name));
    return;
  }
  if (descriptor.name != kDigits || descriptor.shape != Shape{1, kDigitExtent, kDigitExtent} ||
      descriptor.classes != 10) {
    fail(ExitStatus::usage, "{}: the only generated dataset is {}, 1x28x28 with 10 classes", file, kDigits);
  }
  if (!spec.path.empty())
    spec_error(spec, fmt::format("dataset.path: {} is generated and has no files; remove it", kDigits));
}

/// The descriptor that the job asks for; an unknown name is told with its place in the job spec.
DatasetDescriptor spec_descriptor(const DatasetSpec& spec) {
  DatasetDescriptor descriptor;
  try {
    descriptor = find_descriptor(spec.name.empty() ? kDigits : spec.name);
  } catch (const UnknownDataset& error) {
    spec_error(spec, error.what());
  }
  check_supported(spec, descriptor);
  return descriptor;
}

Shape image_shape(const IdxHeader& images) {
  return Shape{1, images.extents[1], images.extents[2]};
}

void check_counts(const fs::path& image_file, const IdxHeader& images, const fs::path& label_file,
                  const IdxHeader& labels) {
  if (images.extents[0] == labels.extents[0]) return;
  fail(ExitStatus::data, "{}: byte 4: expected {} labels, one for each image of {}, found {}", label_file.string(),
       images.extents[0], image_file.filename().string(), labels.extents[0]);
}

void check_same_shape(const IdxFiles& files, const IdxHeader& train, const IdxHeader& test) {
  const Shape expected = image_shape(train), found = image_shape(test);
  if (expected == found) return;
  fail(ExitStatus::data, "{}: byte 8: expected images of {}, as in {}, found {}", files.test_images.string(),
       expected.text(), files.train_images.filename().string(), found.text());
}

struct IdxContents {
  IdxArray train_images, train_labels, test_images, test_labels;
};

IdxContents read_all(const IdxFiles& files, const StopRequest* stop) {
  // The training images are most of the work, above all when inflated: they get a thread of their own.
  auto train_images = std::async(std::launch::async, [&] { return read_idx(files.train_images, 3, stop); });
  IdxContents contents;
  contents.train_labels = read_idx(files.train_labels, 1, stop);
  contents.test_images = read_idx(files.test_images, 3, stop);
  contents.test_labels = read_idx(files.test_labels, 1, stop);
  contents.train_images = train_images.get();
  check_counts(files.train_images, contents.train_images.header, files.train_labels, contents.train_labels.header);
  check_counts(files.test_images, contents.test_images.header, files.test_labels, contents.test_labels.header);
  check_same_shape(files, contents.train_images.header, contents.test_images.header);
  return contents;
}

std::int64_t count_classes(const IdxArray& labels) {
  const auto values = labels.values.span();
  return *std::max_element(values.begin(), values.end()) + 1;
}

DatasetPair make_pair(const DatasetSpec& spec, const IdxFiles& files, IdxContents contents, std::int64_t classes,
                      const Normalisation& normalisation) {
  check_labels(files.train_labels, contents.train_labels, classes);
  check_labels(files.test_labels, contents.test_labels, classes);
  const Shape shape = image_shape(contents.train_images.header);
  const auto split = [&](IdxArray& images, IdxArray& labels, const std::optional<std::int64_t>& wanted, const char* key,
                         bool is_training) {
    const std::int64_t size = chosen_samples(spec, wanted, key, labels.header.extents[0]);
    return split_in_memory(spec, std::move(images.values), std::move(labels.values), size, shape, classes,
                           normalisation, is_training);
  };
  DatasetPair pair;
  pair.train = split(contents.train_images, contents.train_labels, spec.train_samples, "train_samples", true);
  pair.test = split(contents.test_images, contents.test_labels, spec.test_samples, "test_samples", false);
  return pair;
}

DatasetPair open_idx_folder(const DatasetSpec& spec, const DataOptions& options) {
  const IdxFiles files = standard_files(spec.path);
  IdxContents contents = read_all(files, options.stop);
  const std::int64_t classes = count_classes(contents.train_labels);
  const Normalisation normalisation =
      measure_normalisation(contents.train_images.values.span(), files.train_images.string());
  if (options.progress) {
    options.progress(fmt::format("{}: mean {:.4f} and std {:.4f}, computed from the training images",
                                 spec.path.string(), normalisation.mean[0], normalisation.std[0]));
  }
  DatasetPair pair = make_pair(spec, files, std::move(contents), classes, normalisation);
  pair.name = pair.location = spec.path.string();
  return pair;
}

/// Holds what was read against the descriptor, cheaply: sizes, counts and shape; hashes are for `data info`.
void check_described(const DatasetDescriptor& descriptor, const IdxFiles& files, const IdxContents& contents) {
  const auto check = [&](const fs::path& path, const std::string& role, const IdxHeader& header,
                         const Shape& expected) {
    const std::int64_t bytes = described_file(descriptor, role).bytes;
    if (Shape(header.extents) == expected && header.file_bytes() == bytes) return;
    fail(ExitStatus::data, "{}: byte 4: expected {} values in {} bytes, as {} says, found {} in {}", path.string(),
         expected.text(), bytes, descriptor.source.string(), Shape(header.extents).text(), header.file_bytes());
  };
  const auto images = [&](std::int64_t count) { return Shape{count, descriptor.shape[1], descriptor.shape[2]}; };
  check(files.train_images, "train_images", contents.train_images.header, images(descriptor.train_samples));
  check(files.train_labels, "train_labels", contents.train_labels.header, Shape{descriptor.train_samples});
  check(files.test_images, "test_images", contents.test_images.header, images(descriptor.test_samples));
  check(files.test_labels, "test_labels", contents.test_labels.header, Shape{descriptor.test_samples});
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

DatasetPair open_digits(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const DataOptions& options) {
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const auto split = [&](DigitSplit which, std::int64_t count) {
    Digits digits = generate_digits(spec.generator_seed, which, count, threads, options.stop);
    return split_in_memory(spec, std::move(digits.pixels), std::move(digits.labels), count, descriptor.shape,
                           descriptor.classes, {descriptor.mean, descriptor.std}, which == DigitSplit::train);
  };
  const DatasetInfo info = inspect_dataset(spec, options);
  DatasetPair pair;
  pair.train = split(DigitSplit::train, info.train_samples);
  pair.test = split(DigitSplit::test, info.test_samples);
  pair.name = descriptor.name;
  pair.location = "generated";
  return pair;
}

DatasetPair open_described(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const DataOptions& options) {
  std::vector<TriedPlace> tried;
  std::optional<fs::path> folder = find_dataset(descriptor, spec.path, tried);
  if (!folder) folder = fetch_or_explain(descriptor, tried, options);
  if (descriptor.format != DatasetFormat::idx) return open_described_images(spec, descriptor, *folder, options);
  const IdxFiles files = described_files(descriptor, *folder);
  IdxContents contents = read_all(files, options.stop);
  check_described(descriptor, files, contents);
  DatasetPair pair = make_pair(spec, files, std::move(contents), descriptor.classes, {descriptor.mean, descriptor.std});
  pair.name = descriptor.name;
  pair.location = folder->string();
  return pair;
}

}  // namespace

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

DatasetInfo inspect_dataset(const DatasetSpec& spec, const DataOptions& options) {
  DatasetInfo info;
  if (spec.name.empty() && spec.format == DatasetFormat::idx) {
    const IdxFiles files = standard_files(spec.path);
    const IdxHeader train = read_idx_header(files.train_images, 3), test = read_idx_header(files.test_images, 3);
    const IdxArray train_labels = read_idx(files.train_labels, 1, options.stop);
    check_counts(files.train_images, train, files.train_labels, train_labels.header);
    check_counts(files.test_images, test, files.test_labels, read_idx_header(files.test_labels, 1));
    check_same_shape(files, train, test);
    info = {spec.path.string(), augmented_shape(spec, image_shape(train)), count_classes(train_labels),
            train.extents[0], test.extents[0]};
  } else if (spec.name.empty() && *spec.format != DatasetFormat::generated) {
    info = inspect_images(spec, options);
  } else {
    const DatasetDescriptor descriptor = spec_descriptor(spec);
    const Shape stored =
        spec.resize ? Shape{descriptor.shape[0], spec.resize->first, spec.resize->second} : descriptor.shape;
    info = {descriptor.name, augmented_shape(spec, stored), descriptor.classes, descriptor.train_samples,
            descriptor.test_samples};
    if (descriptor.format == DatasetFormat::generated) {  // as many as asked for
      info.train_samples = spec.train_samples ? kMostDigits : info.train_samples;
      info.test_samples = spec.test_samples ? kMostDigits : info.test_samples;
    }
  }
  info.train_samples = chosen_samples(spec, spec.train_samples, "train_samples", info.train_samples);
  info.test_samples = chosen_samples(spec, spec.test_samples, "test_samples", info.test_samples);
  return info;
}

DatasetPair open_dataset(const DatasetSpec& spec, const DataOptions& options, const DatasetInfo& known) {
  if (spec.name.empty() && spec.format == DatasetFormat::idx) return open_idx_folder(spec, options);
  if (spec.name.empty() && *spec.format != DatasetFormat::generated) return open_images(spec, options, known.files);
  const DatasetDescriptor descriptor = spec_descriptor(spec);
  if (descriptor.format == DatasetFormat::generated) return open_digits(spec, descriptor, options);
  return open_described(spec, descriptor, options);
}

}  // namespace dptrain
