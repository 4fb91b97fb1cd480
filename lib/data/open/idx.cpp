#include "data/open/idx.h"

#include <algorithm>
#include <future>

#include "core/error.h"
#include "data/files/locate.h"
#include "data/formats/idx.h"
#include "data/open/choices.h"
#include "data/open/in_memory.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

Shape image_shape(const IdxHeader& images) {
  return Shape{1, images.extents[1], images.extents[2]};
}

void check_counts(const fs::path& image_file, const IdxHeader& images, const fs::path& label_file,
                  const IdxHeader& labels) {
  if (images.extents[0] == labels.extents[0]) return;
  fail(ExitStatus::data, "{}: expected {} labels, one for each image of {}, found {}", at_byte(label_file, 4),
       images.extents[0], image_file.filename().string(), labels.extents[0]);
}

void check_same_shape(const IdxFiles& files, const IdxHeader& train, const IdxHeader& test) {
  const Shape expected = image_shape(train), found = image_shape(test);
  if (expected == found) return;
  fail(ExitStatus::data, "{}: expected images of {}, as in {}, found {}", at_byte(files.test_images, 8),
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
  const auto split = [](IdxArray& images, IdxArray& labels) {
    return SplitBytes{std::move(images.values), std::move(labels.values), labels.header.extents[0]};
  };
  return pair_in_memory(spec, split(contents.train_images, contents.train_labels),
                        split(contents.test_images, contents.test_labels), shape, classes, normalisation);
}

/// Holds what was read against the descriptor, cheaply: sizes, counts and shape; hashes are for `data info`.
void check_described(const DatasetDescriptor& descriptor, const IdxFiles& files, const IdxContents& contents) {
  const auto check = [&](const fs::path& path, const std::string& role, const IdxHeader& header,
                         const Shape& expected) {
    const std::int64_t bytes = described_file(descriptor, role).bytes;
    if (Shape(header.extents) == expected && header.file_bytes() == bytes) return;
    fail(ExitStatus::data, "{}: expected {} values in {} bytes, as {} says, found {} in {}", at_byte(path, 4),
         expected.text(), bytes, descriptor.source.string(), Shape(header.extents).text(), header.file_bytes());
  };
  const auto images = [&](std::int64_t count) { return Shape{count, descriptor.shape[1], descriptor.shape[2]}; };
  check(files.train_images, "train_images", contents.train_images.header, images(descriptor.train_samples));
  check(files.train_labels, "train_labels", contents.train_labels.header, Shape{descriptor.train_samples});
  check(files.test_images, "test_images", contents.test_images.header, images(descriptor.test_samples));
  check(files.test_labels, "test_labels", contents.test_labels.header, Shape{descriptor.test_samples});
}

}  // namespace

DatasetInfo inspect_idx_folder(const DatasetSpec& spec, const DataOptions& options) {
  const IdxFiles files = standard_files(spec.path);
  const IdxHeader train = read_idx_header(files.train_images, 3), test = read_idx_header(files.test_images, 3);
  const IdxArray train_labels = read_idx(files.train_labels, 1, options.stop);
  check_counts(files.train_images, train, files.train_labels, train_labels.header);
  check_counts(files.test_images, test, files.test_labels, read_idx_header(files.test_labels, 1));
  check_same_shape(files, train, test);
  return {spec.path.string(), augmented_shape(spec, image_shape(train)), count_classes(train_labels), train.extents[0],
          test.extents[0]};
}

DatasetPair open_idx_folder(const DatasetSpec& spec, const DataOptions& options) {
  const IdxFiles files = standard_files(spec.path);
  IdxContents contents = read_all(files, options.stop);
  const std::int64_t classes = count_classes(contents.train_labels);
  const Normalisation normalisation =
      measure_normalisation(contents.train_images.values.span(), files.train_images.string());
  tell(options, fmt::format("{}: mean {:.4f} and std {:.4f}, computed from the training images", spec.path.string(),
                            normalisation.mean[0], normalisation.std[0]));
  DatasetPair pair = make_pair(spec, files, std::move(contents), classes, normalisation);
  pair.name = pair.location = spec.path.string();
  return pair;
}

DatasetPair open_described_idx(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const fs::path& folder,
                               const DataOptions& options) {
  const IdxFiles files = described_files(descriptor, folder);
  IdxContents contents = read_all(files, options.stop);
  check_described(descriptor, files, contents);
  DatasetPair pair = make_pair(spec, files, std::move(contents), descriptor.classes, {descriptor.mean, descriptor.std});
  pair.name = descriptor.name;
  pair.location = folder.string();
  return pair;
}

}  // namespace dptrain
