// Purpose: one executor: a device, a thread, a Model, the gradient buffers of its part of the tree, and a loader ahead of it.
//   What it runs is the schedule's business, and what becomes of its gradients the reducer's.
// Thread safety: everything, being made included, belongs to the replica's own thread.
// Invariants: a device may still be at work on a step when run() returns; lag() says for how many steps, and whoever reads
//   a step's losses waits for it with collect().
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "kernels/loss_sum.h"
#include "nn/parameters.h"
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
    int loader_workers = 0;  ///< threads of its own that load ahead
  };
  virtual ~Replica() = default;

  virtual const ParameterTable& parameters() const = 0;
  /// Reads the weights there from now on, in the memory of its device.
  virtual void bind(const float* weights) = 0;
  /// The sum of root k of its ReplicaProgram is in gradients()[k] after a step, in the memory of its device.
  virtual const std::vector<float*>& gradients() const = 0;

  struct Times {
    double data = 0, compute = 0, reduce = 0;  ///< seconds; reduce: additions of its own gradient sums
  };
  /// Runs this replica's program of `step`. Steps come in order.
  virtual Times run(std::int64_t step) = 0;
  /// How many steps the host may be ahead of the device: collect(step) without waiting needs run(step + lag()).
  virtual int lag() const = 0;
  /// The loss sums of its micro-batches of `step` into losses[micro-batch]; waits for the device where it must. Once a step,
  /// in order, at most lag() steps behind.
  virtual void collect(std::int64_t step, std::vector<LossSum>& losses) = 0;

  /// Evaluates chunks rank, rank + replicas, ... of the test set into sums[chunk]. `step` names the weights.
  /// `give_up` is asked before each chunk; returns whether all were done.
  virtual bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) = 0;
};

/// The ids of a replica's micro-batches, in the order in which it runs them. `config` must outlive it.
Loader::Source micro_batch_source(const Replica::Config& config);
/// The batch sizes that a replica prepares, training's and evaluation's, without repetition. The first decides layouts.
std::vector<std::int64_t> batch_sizes(const Replica::Config& config);

}  // namespace dptrain
