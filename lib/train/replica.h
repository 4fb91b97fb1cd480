// Purpose: one executor: a device, a thread, a Model, the gradient buffers of its part of the tree, and a loader ahead
//   of it. What it runs is the schedule's business, and what becomes of its gradients the reducer's.
// Thread safety: everything, being made included, belongs to the replica's own thread.
// Invariants: a device may still be at work on a step when run() returns; lag() says for how many steps, and whoever
//   reads a step's losses waits for it with collect().
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "device/buffer.h"
#include "kernels/loss_scale.h"
#include "kernels/loss_sum.h"
#include "nn/parameters.h"
#include "train/assignment.h"
#include "train/schedule.h"
#include "train/step_exchange.h"

namespace dptrain {

/// Evaluation sums the test set over fixed chunks of this many samples, in index order, whoever computed them.
std::int64_t evaluation_chunk(const RunSchedule& schedule, std::int64_t test_samples);

/// One step as a replica is told to run it.
struct StepTask {
  std::int64_t step = 0;
  std::int64_t weights = 0;  ///< the version of the weights: another number where they have changed in any way
  bool poison = false;       ///< a drill: the gradient of its first micro-batch is not a number
  double slow = 1;           ///< a drill: the replica's part of it takes so many times as long
};

/// One micro-batch by itself, for modes in which replicas do not take steps together.
struct GradientTask {
  std::int64_t step = 0;   ///< names the epoch's order and the random draws
  std::int64_t first = 0;  ///< the first of its samples, counted from the step's first
  std::int64_t count = 0;  ///< of samples; a size that was prepared
  /// Flat, in the host's memory, as the gradient; both best from Backend::host_buffer(), which a GPU copies without the
  /// host's help.
  const float* weights = nullptr;
  std::int64_t version = 0;   ///< of the weights: another number for other contents
  float* gradient = nullptr;  ///< the sum over the samples is written here
  bool poison = false;        ///< a drill: the gradient is not a number
  /// Its samples, loaded into memory of the host, until gradient() returns; null where the replica names them itself.
  const Batch* batch = nullptr;
};

/// The first micro-batch of a replica, and the first gradient in backward's order, that is not finite.
struct NotFinite {
  int micro_batch = 0;
  bool loss = false;      ///< the loss is not finite either
  std::string parameter;  ///< whose gradient it is, empty where it is the loss alone
};

/// The first parameter in backward's order of whose flat gradient something is not finite; null where there is none.
const Parameter* first_not_finite(const ParameterTable& table, const float* gradient);

class Replica {
 public:
  struct Config {
    const JobSpec& job;
    const RunSchedule& schedule;
    const DatasetPair& data;
    int rank = 0, replicas = 1;
    std::int64_t first_step = 0;
    int loader_workers = 0;  ///< threads of its own that load ahead
    /// assign() may come: there are buffers for any range of micro-batches, and steps are measured.
    bool reassigned = false;
    bool steps = true;                         ///< run() is called: a loader and gradient buffers are made for it
    std::vector<std::int64_t> single_sizes{};  ///< the batch sizes with which gradient() is called
    /// Where gradients() are, of so many floats each; empty: in memory of its own.
    std::function<Buffer(int k, std::int64_t floats)> gradient_memory{};
    StepExchange* exchange = nullptr;  ///< where the model needs sums over all micro-batches of a step
  };
  virtual ~Replica() = default;
  /// Why it is slower than replicas on such devices should be, for the user to read at the end of a run; empty: it is
  /// not.
  virtual std::string handicap() const { return {}; }

  virtual const ParameterTable& parameters() const = 0;
  /// Reads the weights there from now on, in the memory of its device.
  virtual void bind(const float* weights) = 0;
  /// The same for weights in the host's memory, which a device with its own reads now: to be called again where they
  /// have changed. Until the next gradient(). Needs Config::single_sizes.
  virtual void bind_host(const float* weights) = 0;
  /// The sum of root k of its ReplicaProgram is in gradients()[k] after a step, in the memory of its device.
  virtual const std::vector<float*>& gradients() const = 0;

  struct Times {
    double data = 0, compute = 0, reduce = 0;  ///< seconds; reduce: additions of its own gradient sums
    double wait = 0;                           ///< for others, in the midst of it
  };
  /// Runs this replica's program of the step. Steps come in order, but for assign().
  virtual Times run(const StepTask& task) = 0;
  struct Gradient {
    LossSum loss;
    double largest = 0;            ///< magnitude of the gradient's elements; infinite where one is not finite
    double data = 0, compute = 0;  ///< seconds
    /// It and its loss.
    bool is_finite() const { return std::isfinite(loss.loss) && std::isfinite(largest); }
  };
  /// Whether gradient() is to be given the samples; not where the replica has the training set at hand. The same for
  /// all of a run.
  virtual bool needs_batches() const { return true; }
  /// One micro-batch, whole, on return. Needs Config::single_sizes.
  virtual Gradient gradient(const GradientTask& task);
  /// The next step is `step`, and this is who runs what from then on; before the first step it is an equal share each.
  /// Needs Config::reassigned. Steps before it may still be under way, and are collected as they ran.
  virtual void assign(std::shared_ptr<const Assignment> assignment, std::int64_t step);
  /// After run(): no element of the sum of what it hands over is larger than this; infinite where one is not finite.
  /// Replicas that do not look say 0.
  virtual double gradient_bound() const { return 0; }
  /// Runs its micro-batches of the step that ran last once more, one by one, to find what is not finite. Afterwards
  /// gradients() hold nothing of use.
  virtual std::optional<NotFinite> diagnose(const StepTask&) { return std::nullopt; }
  /// How many steps the host may be ahead of the device: collect(step) without waiting needs run(step + lag()).
  virtual int lag() const = 0;
  /// The loss sums of its micro-batches of `step` into losses[micro-batch]; waits for the device where it must. Once a
  /// step, in order, at most lag() steps behind. Where Config::reassigned, returns the seconds that its device was at
  /// its part of that step, by the assignment that was in force then.
  virtual double collect(std::int64_t step, std::vector<LossSum>& losses) = 0;

  /// The scale of losses after the step that was collected last; empty where losses are not scaled.
  virtual std::optional<LossScale> loss_scale() const { return {}; }

  /// Evaluates chunks rank, rank + replicas, ... of the test set into sums[chunk]. `step` names the weights.
  /// `give_up` is asked before each chunk; returns whether all were done.
  virtual bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) = 0;
};

/// An equal share each: where every run begins.
std::shared_ptr<const Assignment> equal_shares(const RunSchedule& schedule, int replicas);
/// What the samples of a step are augmented by.
RandomStream augmentation(const Replica::Config& config, std::int64_t step);
/// The ids of a replica's micro-batches from `step` on, in the order in which it runs them. `config` must outlive it.
Loader::Source micro_batch_source(const Replica::Config& config, std::shared_ptr<const Assignment> assignment,
                                  std::int64_t step);
/// The same where the assignment never changes.
Loader::Source micro_batch_source(const Replica::Config& config);
/// The batch sizes that a replica prepares, training's and evaluation's, without repetition. The first decides layouts.
std::vector<std::int64_t> batch_sizes(const Replica::Config& config);
/// The same without Config::single_sizes.
std::vector<std::int64_t> batch_sizes(const RunSchedule& schedule, std::int64_t test_samples);

}  // namespace dptrain
