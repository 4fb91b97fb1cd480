// Purpose: one executor: a device, a thread, a Model, the gradient buffers of its part of the tree, and a loader ahead of it.
// Thread safety: everything, the constructor included, belongs to the replica's own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "nn/model.h"
#include "train/schedule.h"

namespace dptrain {

/// Evaluation sums the test set over fixed chunks of this many samples, in index order, whoever computed them.
std::int64_t evaluation_chunk(const RunSchedule& schedule, std::int64_t test_samples);

class Replica {
 public:
  struct Config {
    const JobSpec& job;
    const RunSchedule& schedule;
    const DatasetPair& data;
    int rank = 0, replicas = 1;
    std::int64_t first_step = 0;
    bool loader_worker = false;  ///< load ahead on a thread of its own
  };
  explicit Replica(const Config& config);

  Model& model() { return *model_; }
  const std::vector<float*>& gradients() const { return gradient_views_; }

  struct Times {
    double data = 0, compute = 0, reduce = 0;  ///< seconds; reduce: additions of its own gradient sums
  };
  /// Runs this replica's program of `step`; the sums of its micro-batches go to losses[micro-batch].
  Times run(std::int64_t step, std::vector<LossSum>& losses);

  /// Evaluates chunks rank, rank + replicas, ... of the test set into sums[chunk]. `step` names the weights.
  /// `give_up` is asked before each chunk; returns whether all were done.
  bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up);

 private:
  /// The ids of this replica's micro-batches, in the order in which it runs them.
  Loader::Source source(std::int64_t first_step) const;

  Config config_;
  Sampler sampler_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  std::vector<Buffer> gradients_;
  std::vector<float*> gradient_views_;
  std::unique_ptr<Loader> loader_;
  std::int64_t chunk_;  // of evaluation
  std::vector<std::int64_t> chunk_ids_;
  std::vector<std::int32_t> chunk_labels_;
  Buffer chunk_samples_;
};

}  // namespace dptrain
