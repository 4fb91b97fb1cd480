// The files of tests/golden, written by scripts/make_golden, and the specs in their metadata.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "interop/safetensors.h"
#include "spec/reader.h"

namespace dptrain::testing {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(DPTRAIN_TESTS_DIR) / "golden";
}

/// All files of a folder of tests/golden, by name. Errors: there are none, with which a test would show nothing.
inline std::vector<std::filesystem::path> golden_files(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder() / folder)) files.push_back(entry.path());
  if (files.empty())
    throw std::runtime_error(fmt::format("no golden files in {}", (golden_folder() / folder).string()));
  std::sort(files.begin(), files.end());
  return files;
}

/// A job around a model and training settings, given as the metadata has them: JSON, which is YAML too.
inline JobSpec job_of(const std::string& model, const std::string& train) {
  return read_job_text(fmt::format("dataset: {{name: none}}\nmodel: {}\ntrain: {}\n", model, train), "golden.yaml");
}

/// The layer of a file of golden/layers, and the shape of its input.
struct GoldenLayer {
  LayerSpec layer;
  Shape input;
};

inline GoldenLayer golden_layer(const SafetensorsFile& file) {
  // A sample of two axes is none that a spec can have; the activation that has one does not mind how elements are
  // called.
  const std::vector<std::int64_t>& x = file.tensor("x").shape;
  const std::string input = x.size() == 3 ? fmt::format("[{}]", x[1] * x[2]) : file.metadata.at("input");
  // A model ends with features; the flatten behind the layer is for the reader only.
  const std::string model =
      fmt::format("{{\"input\": {}, \"layers\": [{}, \"flatten\"]}}", input, file.metadata.at("layer"));
  const JobSpec job =
      job_of(model, "{steps: 1, global_batch_size: 2, optimizer: {name: sgd, lr: 0.1}, micro_batch_size: 2}");
  return {job.model.layers[0], job.model.input};
}

}  // namespace dptrain::testing
