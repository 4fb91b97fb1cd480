// Purpose: runs that are stopped and gone on with, for tests of exact resume. Thread safety: none.
#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "support/memory_dataset.h"
#include "support/process.h"
#include "train/trainer.h"

namespace dptrain::test {

/// The first `count` samples that are trained on from here on end the run: the step that takes the last of them is
/// finished.
inline DatasetPair stopping_pair(std::int64_t train, std::int64_t test, const Shape& shape, std::int64_t classes,
                                 std::uint64_t seed, std::int64_t count, StopRequest& stop) {
  DatasetPair data = memory_pair(train, test, shape, classes, seed);
  auto set = std::make_unique<MemoryDataset>(train, shape, classes, seed);
  const auto seen = std::make_shared<std::atomic<std::int64_t>>(0);
  set->on_train = [=, &stop](std::span<const std::int64_t> ids) {
    if ((*seen += static_cast<std::int64_t>(ids.size())) >= count) stop = 15;
  };
  data.train = std::move(set);
  return data;
}

/// No stop request ever.
inline constexpr std::int64_t to_the_end = std::numeric_limits<std::int64_t>::max();

/// What a run of several parts must have in common with one that was never stopped.
struct PartsOfRun {
  const JobSpec& job;
  const Shape& shape;
  std::int64_t train_samples, test_samples, classes = 3;
  std::uint64_t seed = 1;

  Summary whole() const {
    Reporter silent;
    return train(job, memory_pair(train_samples, test_samples, shape, classes, seed), silent);
  }

  /// One part: goes on where `folder` has a checkpoint, and is asked to stop once it has gathered `samples`.
  Summary part(const fs::path& folder, std::int64_t samples, const DevicesSpec& devices) const {
    JobSpec here = job;
    here.devices = devices;
    StopRequest stop{0};
    const DatasetPair data = stopping_pair(train_samples, test_samples, shape, classes, seed, samples, stop);
    CheckpointOptions checkpoints{.run_folder = folder};
    std::vector<std::string> warnings;
    auto found = newest_checkpoint(folder, [&](const std::string& text) { warnings.push_back(text); });
    if (!warnings.empty()) throw std::runtime_error(warnings.front());
    if (found) checkpoints.resume_from = std::make_shared<Checkpoint>(std::move(*found));
    Reporter silent;
    return train(here, data, silent, {.stop = &stop, .evaluation_grace = 60, .checkpoints = std::move(checkpoints)});
  }
};

}  // namespace dptrain::test
