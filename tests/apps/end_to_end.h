// Purpose: the built binary on a small job in a folder of its own, for the end-to-end tests.
// Thread safety: none.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/process.h"

namespace dptrain::test {

/// Seconds of work at most: a multi-layer perceptron on few generated digits.
inline constexpr const char* small_job = R"(name: small
dataset: {name: digits, train_samples: 300, test_samples: 100}
model:
  input: [1, 28, 28]
  layers: [flatten, {linear: 16}, relu, {linear: 10}]
train: {steps: 6, global_batch_size: 64, micro_batch_size: 16, optimizer: {name: sgd, lr: 0.1}}
devices: {type: cpu, count: 2}
log: {every: 2 steps}
)";

/// What every summary holds.
inline const std::vector<std::string> summary_keys = {
    "status",     "dataset",   "devices",       "replicas",     "micro_batches",  "mode",
    "steps",      "epochs",    "samples",       "wall_seconds", "train_seconds",  "samples_per_second",
    "final_loss", "test_loss", "test_accuracy", "weights_hash", "peak_rss_bytes", "startup_seconds"};

class Workplace {
 public:
  Workplace() { write_text(folder / "job.yaml", small_job); }

  /// `dptrain ARGUMENTS...` in the folder, offline caches and all in there too.
  Finished dptrain(const std::vector<std::string>& arguments,
                   std::map<std::string, std::string> environment = {}) const {
    return run(command(arguments), options(std::move(environment)));
  }
  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {DPTRAIN_BINARY};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
  Process::Options options(std::map<std::string, std::string> environment = {}) const {
    environment.insert({"XDG_CACHE_HOME", (folder / "cache").string()});
    return {.folder = folder.path(), .environment = std::move(environment)};
  }
  nlohmann::json summary(const fs::path& run) const {
    return nlohmann::json::parse(read_text(folder / run / "summary.json"));
  }

  TemporaryFolder folder;
};

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dptrain::test
