#include "data/open/images.h"

#include <algorithm>

#include "core/error.h"
#include "data/files/archive.h"
#include "data/files/locate.h"
#include "data/formats/image_folder.h"
#include "data/formats/image_tar.h"
#include "data/images/decoded_images.h"
#include "data/images/transformed_images.h"
#include "data/open/choices.h"
#include "data/sampler.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// The cache's folder for archives that a job gives by their path.
const char* const kUnpacked = "unpacked";
/// Samples that tell the mean of a dataset that is given by its path: it is off by a hundredth at most.
constexpr std::int64_t kMeasured = 512;

ImageFilesPair list_files(const DatasetSpec& spec, const DataOptions& options) {
  if (*spec.format == DatasetFormat::image_folder) return open_image_folder(spec.path, options.stop);
  std::vector<std::string> left_out;
  TarFile::Skip skip;
  if (spec.on_bad_sample == OnBadSample::skip) skip = [&](const std::string& line) { left_out.push_back(line); };
  ImageFilesPair files = open_image_tar(plain_tar(spec.path, kUnpacked, nullptr, options), skip, options.stop);
  files.left_out = std::move(left_out);
  return files;
}

ImageExtents extents_of(const std::vector<std::uint8_t>& file, const std::string& name) {
  try {
    return image_extents(file);
  } catch (const Error& error) {
    throw Error(error.status(), fmt::format("{}: {}", name, error.what()));
  }
}

/// As the samples are stored: what `resize` says, or else the extents of the first one that can be read.
Shape stored_shape(const DatasetSpec& spec, const ImageFiles& files) {
  const std::int64_t channels = spec.channels.value_or(3);
  if (spec.resize) return Shape{channels, spec.resize->first, spec.resize->second};
  std::vector<std::uint8_t> file;
  for (std::int64_t id = 0;; ++id) {
    try {
      files.read(id, file);
      const ImageExtents extents = extents_of(file, files.name(id));
      return Shape{channels, extents.height, extents.width};
    } catch (const ReadFailed&) {
      throw;
    } catch (const Error&) {
      if (spec.on_bad_sample != OnBadSample::skip || id + 1 == files.size()) throw;
    }
  }
}

/// Mean and standard deviation of some of the samples.
Normalisation measured(const ImageSource& source, std::int64_t at_most, const std::string& what,
                       const StopRequest* stop) {
  const std::int64_t count = std::min(at_most, source.size()), elements = source.shape().elements();
  ChannelSums sums(source.shape()[0]);
  DecodeScratch scratch;
  for (const std::int64_t id : some_samples(source.size(), count)) {
    throw_if_stopped(stop);
    const StoredImage image = source.read(id, scratch);
    sums.add({image.pixels, static_cast<std::size_t>(elements)}, elements / source.shape()[0]);
  }
  return sums.normalisation(what);
}

/// Both splits of decoded images; each gets its part of the cache.
DatasetPair decoded_pair(const DatasetSpec& spec, const ImageFilesPair& files, const Shape& shape,
                         const std::optional<Normalisation>& known, const std::string& name,
                         const DataOptions& options) {
  const auto classes = static_cast<std::int64_t>(files.classes.size());
  const std::int64_t train_size = chosen_train_samples(spec, files.train->size());
  const std::int64_t test_size = chosen_test_samples(spec, files.test->size());
  const auto source = [&](const std::shared_ptr<const ImageFiles>& of, std::int64_t size) {
    const double share = static_cast<double>(size) / static_cast<double>(train_size + test_size);
    return std::make_unique<DecodedImages>(
        of, size, shape, classes,
        DecodeOptions{.resize = spec.resize.has_value(),
                      .on_bad_sample = spec.on_bad_sample,
                      .cache_bytes = static_cast<std::int64_t>(share * static_cast<double>(options.cache_bytes)),
                      .warning = options.warning});
  };
  auto train = source(files.train, train_size);
  auto test = source(files.test, test_size);
  const Normalisation normalisation = known ? *known : measured(*train, kMeasured, name, options.stop);
  const Augmenter augmenter(shape, spec.augment, normalisation.mean, name);
  DatasetPair pair;
  pair.train = std::make_unique<TransformedImages>(std::move(train), augmenter, normalisation, true);
  pair.test = std::make_unique<TransformedImages>(std::move(test), augmenter, normalisation, false);
  pair.name = name;
  return pair;
}

}  // namespace

DatasetInfo inspect_images(const DatasetSpec& spec, const DataOptions& options) {
  const auto files = std::make_shared<const ImageFilesPair>(list_files(spec, options));
  return {spec.path.string(),
          augmented_shape(spec, stored_shape(spec, *files->train)),
          static_cast<std::int64_t>(files->classes.size()),
          files->train->size(),
          files->test->size(),
          files};
}

DatasetPair open_images(const DatasetSpec& spec, const DataOptions& options,
                        std::shared_ptr<const ImageFilesPair> known) {
  if (!known) known = std::make_shared<const ImageFilesPair>(list_files(spec, options));
  for (const std::string& line : known->left_out) {
    if (options.warning) options.warning(line);
  }
  const Shape shape = stored_shape(spec, *known->train);
  DatasetPair pair = decoded_pair(spec, *known, shape, std::nullopt, spec.path.string(), options);
  pair.location = spec.path.string();
  return pair;
}

Normalisation measure_training_images(const DatasetSpec& spec, const ImageFilesPair& files, const StopRequest* stop) {
  const std::int64_t size = files.train->size();
  const DecodedImages source(files.train, size, stored_shape(spec, *files.train),
                             static_cast<std::int64_t>(files.classes.size()),
                             {.resize = spec.resize.has_value(), .on_bad_sample = spec.on_bad_sample, .warning = {}});
  return measured(source, size, spec.path.string(), stop);
}

DatasetPair open_described_images(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const fs::path& folder,
                                  const DataOptions& options) {
  const DescribedFile& file = described_file(descriptor, "archive");
  const fs::path tar = plain_tar(folder / file.name, descriptor.name, &file, options);
  TarFile::Skip skip;
  if (spec.on_bad_sample == OnBadSample::skip && options.warning) skip = options.warning;
  const ImageFilesPair files = open_image_tar(tar, skip, options.stop);
  const auto classes = static_cast<std::int64_t>(files.classes.size());
  if (files.train->size() != descriptor.train_samples || files.test->size() != descriptor.test_samples ||
      classes != descriptor.classes) {
    fail(ExitStatus::data, "{}: expected {} + {} images of {} classes, as {} says, found {} + {} of {}", tar.string(),
         descriptor.train_samples, descriptor.test_samples, descriptor.classes, descriptor.source.string(),
         files.train->size(), files.test->size(), classes);
  }
  DatasetPair pair = decoded_pair(spec, files, resized_shape(spec, descriptor.shape),
                                  Normalisation{descriptor.mean, descriptor.std}, descriptor.name, options);
  pair.location = folder.string();
  return pair;
}

}  // namespace dptrain
