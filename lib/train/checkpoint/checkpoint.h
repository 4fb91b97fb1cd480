// Purpose: checkpoints of a run: checkpoints/step-N/ holds model.safetensors and optimizer.safetensors in the canonical
//   layout, state.json with the rest of the run's state and what its bits rest on, and manifest.json with the length
//   and hash of each. Nothing in them belongs to a replica.
// Thread safety: one writer a run folder; readers any.
// Invariants: a folder of this name was published whole; one that is damaged later is found out by its manifest, and
//   never loaded in part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nn/parameters.h"
#include "report/records.h"
#include "train/async/staleness.h"

namespace dptrain {

/// What the bits of a run rest on besides its job, as name and value: build, instruction set, libraries, devices,
/// threads.
using Basis = std::vector<std::pair<std::string, std::string>>;

/// Of dynamic loss scaling, see kernels/loss_scale.h.
struct LossScaleState {
  double scale = 1;
  std::int64_t good_steps = 0, skipped_steps = 0;
};

/// The state of a run at a step that is not in tensors. See rules.md, "State of a run".
struct RunState {
  std::int64_t step = 0;  ///< steps done; the place in the epoch follows from it and the job
  std::uint64_t seed = 0;
  std::string job;  ///< the part of the resolved spec that decides the weights
  Basis basis;
  std::int64_t train_samples = -1;  ///< of the dataset, which an epoch is one pass over; -1: of an older version
  double train_seconds = 0, final_loss = not_known, test_loss = not_known, test_accuracy = not_known;
  double ema_test_loss = not_known, ema_test_accuracy = not_known;  ///< with the average
  std::int64_t evaluated_step = -1;                                 ///< of test_loss and test_accuracy; -1: none
  std::int64_t best_step = -1;                                      ///< of the best checkpoint so far; -1: none
  double best_metric = not_known;                                   ///< its test accuracy, or minus its test loss
  double lr_factor = 1;                                             ///< what rollbacks have left of the learning rate
  std::int64_t rollbacks = 0;                                       ///< so far
  std::int64_t skipped_steps = 0;                                   ///< so far
  std::int64_t skips_in_a_row = 0;                                  ///< up to this step
  std::vector<std::int64_t> rollback_steps{};  ///< of the checkpoints that a rollback may go back to, oldest first
  std::int64_t failed_at = -1;                 ///< the step that led to the last rollback; -1: none
  /// Step and replica of the gradients that drills have spoilt so far.
  std::vector<std::pair<std::int64_t, std::int64_t>> spoilt{};
  std::optional<AsyncState> async{};           ///< in mode async
  std::optional<LossScaleState> loss_scale{};  ///< where the precision is fp16
  std::int64_t averages = -1;                  ///< in mode local_sgd: of the workers, so far; -1: none is counted
  std::string weights_hash;
};

/// The name of the weights' moving average among the sets of state.
inline constexpr const char* kAverage = "ema";

/// Tensors and state as they are written: canonical values, one vector a parameter in name order.
struct Snapshot {
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Tensor> model, optimizer;  ///< the optimizer's are named "exp_avg.0.weight"
  std::vector<Tensor> average;           ///< of the model's tensors, where one is kept
  RunState state;
};

/// The parameters and the state buffers (flat, as the table says) as a snapshot; the one called kAverage is the
/// average.
Snapshot take_snapshot(const ParameterTable& table, const float* parameters,
                       const std::vector<std::string>& state_names, const std::vector<const float*>& states,
                       RunState state);

/// Steps of the checkpoints that are there, newest first. Errors: failed where the folder cannot be listed.
std::vector<std::int64_t> checkpoint_steps(const std::filesystem::path& run_folder);
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, std::int64_t step);

/// Publishes checkpoints/step-N atomically. Errors: failed, with file and reason; what was there stays.
void write_checkpoint(const std::filesystem::path& run_folder, const Snapshot& snapshot);

/// The checkpoint of state.step, which is there, with another state and the tensors that it has. Errors: as above.
void rewrite_state(const std::filesystem::path& run_folder, const RunState& state);

/// Keeps those of the last `keep` steps up to `newest`, of the steps `besides`, and of step 0, which only a run has
/// that began with weights of a file (train/checkpoint/first_weights.h); removes the others, later ones too (a run that
/// could not use them has gone another way), and what unfinished saves left.
void prune_checkpoints(const std::filesystem::path& run_folder, std::int64_t keep, std::int64_t newest,
                       const std::vector<std::int64_t>& besides);
/// The steps besides the last that a run in this state keeps: the best, those that it may go back to, and where its
/// record begins.
std::vector<std::int64_t> kept_steps(const RunState& state);

/// A checkpoint whose every byte was checked against its manifest.
struct Checkpoint {
  std::filesystem::path folder;
  Snapshot snapshot;

  /// Into flat buffers. Errors: failed where a tensor is missing, superfluous, or of another shape.
  void restore(const ParameterTable& table, float* parameters, const std::vector<std::string>& state_names,
               const std::vector<float*>& states) const;
};

/// The newest of a run that can be used; empty where there never was one. One that had lost its name to a save that was
/// killed has it back afterwards. `warn` is told of each that is passed over.
/// Errors: failed, with all reasons, where there are checkpoints and none can be used, or they cannot be listed.
std::optional<Checkpoint> newest_checkpoint(const std::filesystem::path& run_folder,
                                            const std::function<void(const std::string&)>& warn);
/// Errors: failed, naming file and what is wrong.
Checkpoint read_checkpoint(const std::filesystem::path& folder);

/// Parameters alone, from a safetensors file with the names and shapes of the table.
/// Errors: usage where it is no such file, or they do not fit.
void init_from(const std::filesystem::path& file, const ParameterTable& table, float* parameters);

}  // namespace dptrain
