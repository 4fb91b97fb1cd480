// The `dataset:` block: {name: mnist} or {format: idx, path: DIR}, and what is done to its samples.

#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/texts.h"

namespace dptrain {

namespace {

/// What a dataset that is given by its format and path must have, and what only some have.
void check_format(MapReader& map, const DatasetSpec& dataset) {
  const DatasetFormat format = *dataset.format;
  if (format == DatasetFormat::generated) {
    if (map.has("path")) map.error("path", "a generated dataset has no files", "remove 'path'");
  } else {
    const char* const what = format == DatasetFormat::idx     ? "the folder with the four IDX files"
                             : format == DatasetFormat::cifar ? "the folder with CIFAR's .bin files"
                             : format == DatasetFormat::image_folder
                                 ? "the folder that holds train/CLASS/ and test/CLASS/"
                                 : "the tar file with train/CLASS/ and test/CLASS/";
    if (!map.has("path")) map.missing("path", what);
    if (map.has("seed") && dataset.generator_seed != 1) {
      map.error("seed", "only generated datasets have a seed",
                "remove it; the seed of the run is the top level's 'seed'");
    }
  }
  if (format == DatasetFormat::image_folder || format == DatasetFormat::image_tar) return;
  for (const std::string_view key : {"resize", "channels"}) {
    if (map.has(key)) map.error(key, "is for image_folder and image_tar", "remove it");
  }
  if (dataset.on_bad_sample == OnBadSample::skip)
    map.error("on_bad_sample", "is for image_folder and image_tar", "remove it");
}

std::optional<std::int64_t> channels(const Value& value) {
  const auto count = integer(1, 3)(value);
  if (!count || *count != 2) return count;
  value.error("images have 1 channel (grey) or 3 (red, green, blue)");
  return std::nullopt;
}

}  // namespace

DatasetSpec read_dataset(const Value& block) {
  DatasetSpec dataset;
  MapReader map(block, {.main = "name"});
  std::string path;
  map.optional("name", dataset.name, plain_name);
  map.optional("format", dataset.format, choice(names::dataset_format));
  map.optional("path", path, text);
  const auto samples = or_keyword<std::int64_t>("all", integer(1, kMaxCount));
  map.optional("train_samples", dataset.train_samples, samples);
  map.optional("test_samples", dataset.test_samples, samples);
  map.optional("seed", dataset.generator_seed, seed);
  std::pair<std::int64_t, std::int64_t> size;
  if (map.optional("resize", size, extents(1, kMaxExtent)) && map.has("resize")) dataset.resize = size;
  std::int64_t planes = 0;
  if (map.optional("channels", planes, channels) && map.has("channels")) dataset.channels = planes;
  if (const std::optional<Value> list = map.take("augment")) dataset.augment = read_augment(*list);
  map.optional("on_bad_sample", dataset.on_bad_sample, choice(names::on_bad_sample));
  map.finish();
  dataset.path = path;
  dataset.at = map.at(map.has("name") ? "name" : "format").outlive();
  dataset.path_at = map.at("path").outlive();
  dataset.train_samples_at = map.at("train_samples").outlive();
  dataset.test_samples_at = map.at("test_samples").outlive();
  dataset.seed_at = map.at("seed").outlive();
  dataset.resize_at = map.at("resize").outlive();
  dataset.augment_at = map.at("augment").outlive();
  dataset.on_bad_sample_at = map.at("on_bad_sample").outlive();

  if (map.has("name") && map.has("format")) {
    map.error("format", "a dataset has a name or a format, not both", "remove 'format' to use the named dataset");
  } else if (map.is_map() && !map.has("name") && !map.has("format")) {
    map.missing("name", "write {name: mnist}, or {format: idx, path: FOLDER}");
  } else if (dataset.format) {
    check_format(map, dataset);
  } else if (map.has("channels")) {
    map.error("channels", "a named dataset has its own", "remove it");
  }
  return dataset;
}

std::string dataset_text(const DatasetSpec& dataset) {
  std::string out = "dataset:\n";
  if (dataset.format) {
    out += fmt::format("  format: {}\n", names::dataset_format.name_of(*dataset.format));
  } else {
    out += fmt::format("  name: {}\n", quote(dataset.name));
  }
  if (!dataset.path.empty()) out += fmt::format("  path: {}\n", quote(dataset.path.string()));
  out += fmt::format("  train_samples: {}\n", value_or(dataset.train_samples, "all"));
  out += fmt::format("  test_samples: {}\n", value_or(dataset.test_samples, "all"));
  out += fmt::format("  seed: {}\n", dataset.generator_seed);
  if (dataset.resize) out += fmt::format("  resize: [{}, {}]\n", dataset.resize->first, dataset.resize->second);
  if (dataset.channels) out += fmt::format("  channels: {}\n", *dataset.channels);
  out += fmt::format("  augment: {}\n", augment_text(dataset.augment));
  out += fmt::format("  on_bad_sample: {}\n", names::on_bad_sample.name_of(dataset.on_bad_sample));
  return out;
}

}  // namespace dptrain
