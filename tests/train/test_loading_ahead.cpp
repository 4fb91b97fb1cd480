// Loading ahead in the modes in which replicas take micro-batches by themselves: the same bits with and without threads
// for it, each sample gathered once, augmented by what it and its epoch are, and what fails.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>

#include "core/error.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain::test {

namespace {

const Shape kShape{12};
constexpr std::int64_t kSamples = 75;

const std::vector<std::string> modes = {
    "mode: async\nasync: {max_staleness: 0}", "mode: local_sgd\nlocal_sgd: {workers: 4, sync_every: 3}",
    "mode: local_sgd\nlocal_sgd: {workers: 4, sync_every: 4, warmup_sync_steps: 3}"};

/// Three epochs of five steps, the last of which has 11 samples.
JobSpec job(const std::string& mode, int replicas, int workers, int prefetch = 4) {
  return read_job_text(
      fmt::format("name: ahead\ndataset: {{name: digits}}\nmodel: {{input: [12], layers: [linear: 20, relu, dropout: "
                  "0.3, linear: 3]}}\ntrain: {{epochs: 3, global_batch_size: 16, micro_batch_size: 2, optimizer: "
                  "{{name: sgd, lr: 0.1}}}}\ndevices: {{type: cpu, count: {}}}\ndata: {{workers: {}, prefetch: "
                  "{}}}\nevaluate: {{every: 12 steps}}\n{}",
                  replicas, workers, prefetch, mode),
      "ahead.yaml");
}

/// Adds a number to every value, by seed, epoch and sample.
class Augmented final : public MemoryDataset {
 public:
  using MemoryDataset::MemoryDataset;
  bool augments() const override { return true; }
  void gather_augmented(std::span<const std::int64_t> ids, const RandomStream& draws, float* out,
                        std::int32_t* labels) const override {
    gather(ids, out, labels);
    for (const std::int64_t id : ids) {
      for (std::int64_t k = 0; k < kShape.elements(); ++k) *out++ += draws.uniform(static_cast<std::uint64_t>(id), 0);
    }
  }
};

Summary run(const JobSpec& job, std::unique_ptr<MemoryDataset> set = nullptr) {
  DatasetPair data = memory_pair(kSamples, 40, kShape, 3);
  if (set) data.train = std::move(set);
  Reporter silent;
  return train(job, data, silent);
}

}  // namespace

TEST_CASE("the same bits with and without threads that load ahead, augmented or not") {
  for (const std::string& mode : modes) {
    const std::string hash = run(job(mode, 1, 0)).weights_hash;
    const std::string augmented =
        run(job(mode, 1, 0), std::make_unique<Augmented>(kSamples, kShape, 3, 1)).weights_hash;
    CHECK(augmented != hash);
    for (const int replicas : {1, 2, 4}) {
      for (const auto& [workers, prefetch] : {std::pair{0, 4}, {1, 1}, {1, 4}, {3, 2}}) {
        CAPTURE(mode);
        CAPTURE(replicas);
        CAPTURE(workers);
        const Summary plain = run(job(mode, replicas, workers, prefetch));
        CHECK(plain.weights_hash == hash);
        CHECK(plain.shares.data > 0);
        CHECK(run(job(mode, replicas, workers, prefetch), std::make_unique<Augmented>(kSamples, kShape, 3, 1))
                  .weights_hash == augmented);
      }
    }
  }
}

TEST_CASE("every sample of an epoch is gathered once, and nothing behind the end of the run") {
  std::vector<std::string> all = modes;
  all.insert(all.end(), {"mode: async\nasync: {}", "mode: async\nasync: {updates: hogwild}",
                         "mode: async\nasync: {max_staleness: 1, on_stale: drop}"});
  all.erase(
      std::find_if(all.begin(), all.end(), [](const auto& mode) { return mode.ends_with("warmup_sync_steps: 3}"); }));
  for (const std::string& mode : all) {
    for (const int workers : {0, 2}) {
      CAPTURE(mode);
      CAPTURE(workers);
      auto set = std::make_unique<MemoryDataset>(kSamples, kShape, 3, 1);
      std::mutex mutex;
      std::vector<int> uses(static_cast<std::size_t>(kSamples));
      set->on_gather = [&](std::span<const std::int64_t> ids) {
        const std::lock_guard lock(mutex);
        for (const std::int64_t id : ids) ++uses[static_cast<std::size_t>(id)];
      };
      CHECK(run(job(mode, 4, workers), std::move(set)).status == RunStatus::done);
      CHECK(std::count(uses.begin(), uses.end(), 3) == kSamples);
    }
  }
}

TEST_CASE("a sample that cannot be loaded ends the run with its replica and its reason") {
  for (const std::string& mode : modes) {
    for (const int workers : {0, 2}) {
      CAPTURE(mode);
      CAPTURE(workers);
      auto set = std::make_unique<MemoryDataset>(kSamples, kShape, 3, 1);
      set->on_gather = [&](std::span<const std::int64_t> ids) {
        if (std::find(ids.begin(), ids.end(), 44) != ids.end()) fail(ExitStatus::data, "44.jpeg is damaged");
      };
      std::string message;
      try {
        run(job(mode, 3, workers), std::move(set));
      } catch (const Error& error) {
        CHECK(error.status() == ExitStatus::data);
        message = error.what();
      }
      CAPTURE(message);
      CHECK(message.starts_with("replica "));
      CHECK(message.ends_with("44.jpeg is damaged"));
    }
  }
}

}  // namespace dptrain::test
