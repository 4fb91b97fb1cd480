// The `dataset:` block: {name: mnist} or {format: idx, path: DIR}.

#include "spec/blocks.h"
#include "spec/names.h"

namespace dptrain {

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
  map.finish();
  dataset.path = path;
  dataset.at = map.at(map.has("name") ? "name" : "format").outlive();

  if (map.has("name") && map.has("format")) {
    map.error("format", "a dataset has a name or a format, not both", "remove 'format' to use the named dataset");
  } else if (map.is_map() && !map.has("name") && !map.has("format")) {
    map.missing("name", "write {name: mnist}, or {format: idx, path: FOLDER}");
  } else if (dataset.format == DatasetFormat::idx) {
    if (!map.has("path")) map.missing("path", "the folder with the four IDX files");
    if (map.has("seed") && dataset.generator_seed != 1) {
      map.error("seed", "only generated datasets have a seed",
                "remove it; the seed of the run is the top level's 'seed'");
    }
  } else if (dataset.format == DatasetFormat::generated && map.has("path")) {
    map.error("path", "a generated dataset has no files", "remove 'path'");
  }
  return dataset;
}

}  // namespace dptrain
