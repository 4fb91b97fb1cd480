// Purpose: passes through a network and its loss, in memory that is planned before step 0.
// Thread safety: one thread, that of its replica, except parameters(), which is immutable.
// Invariants: after prepare() neither training nor evaluation allocates; addresses never change.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device/buffer.h"
#include "nn/evaluation_views.h"
#include "nn/network.h"

namespace dptrain {

class Model {
 public:
  /// `full_batch` decides the layouts, `compute` the types: see build_network(). The spec's shapes fit (infer_shapes
  /// has checked them).
  Model(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch, ElementType compute = ElementType::float32);

  /// Creates what these batch sizes need, and the memory for the largest; evaluations are of so many views. Once.
  void prepare(std::span<const std::int64_t> batches, std::int64_t views = 1);

  const ParameterTable& parameters() const { return network_.table; }
  /// Reads parameters from this flat buffer from now on.
  void bind(const float* parameters);

  /// A micro-batch in the memory of the model's device.
  struct Input {
    std::int64_t batch = 0;             ///< a prepared batch size
    const std::int64_t* ids = nullptr;  ///< (batch)
    const float* x = nullptr;           ///< (batch, input) plain
    const std::int32_t* labels = nullptr;
  };
  /// The number of a step, for the host and where the device reads it.
  struct Step {
    std::int64_t number = 0;
    const std::int64_t* on_device = nullptr;
    /// The version of the weights: copies of them are kept for as long as it stays. Empty: the number of the step.
    std::optional<std::int64_t> weights{};
  };
  /// What a training pass leaves, in the memory of the device.
  struct Output {
    float* gradients = nullptr;  ///< flat gradient sums
    LossSum* loss = nullptr;
    /// Called, where it is set, each time the kernels of one more layer's gradients are in line: the first so many
    /// floats of `gradients` are then final as far as the device's order goes.
    std::function<void(std::int64_t)> finished{};
  };
  /// One micro-batch through the device's kernels; on a GPU the host does not wait for them.
  void train(std::uint64_t seed, const Step& step, const Input& input, const Output& output);
  /// The same in pieces, where layers need sums over all micro-batches of a step (see StepSums): what a piece measures
  /// is merged over the micro-batches, in the order of the tree, and told to the next. Other models have one piece.
  int pieces() const { return 2 * static_cast<int>(meetings_.size()) + 1; }
  /// `whole` is what the piece before measured, merged, and `part` what this one measures, in the memory of the device;
  /// there is none before the first and after the last. The memory of `input` stays as it is until the last.
  void train_piece(int piece, std::uint64_t seed, const Step& step, const Input& input, const Output& output,
                   const float* whole, float* part);
  std::int64_t measured_floats() const { return measured_floats_; }  ///< at most
  std::int64_t measured_floats(int piece) const { return sums(meeting(piece)).floats(); }
  /// Two measurements of a piece, in the memory of the host; `both` may be a.
  void merge(int piece, const float* a, const float* b, float* both) const;
  /// So many of the first floats of the gradients are final after a piece.
  std::int64_t final_floats(int piece) const;

  /// Forward only; loss and correct counts of the mean over views.
  void evaluate(const Step& step, const Input& input, LossSum* loss);

  /// The same for a device whose memory is the host's.
  LossSum train(std::uint64_t seed, std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                const std::int32_t* labels, float* gradients, std::optional<std::int64_t> weights = {});
  LossSum evaluate(std::int64_t step, std::span<const std::int64_t> ids, const float* x, const std::int32_t* labels,
                   std::optional<std::int64_t> weights = {});
  /// Outputs of the last pass, (batch, classes) plain.
  const float* outputs() const { return static_cast<const float*>(at(network_.stages.back().output)); }

  std::int64_t outputs_per_sample() const { return network_.stages.back().tensor.size(); }
  std::int64_t activation_bytes() const { return static_cast<std::int64_t>(activations_.size() + differences_.size()); }
  /// Of what layers copy into another type or layout, and of the memory in which they do such things; after prepare().
  std::int64_t copy_bytes() const;

  /// One line a layer, for plans and profiles; `kind` is "conv2d", "reorder", ...
  struct StageInfo {
    std::string kind;
    TensorDesc output;
    std::vector<std::string> implementations;
  };
  std::vector<StageInfo> stages() const;

  /// What each stage costs, in seconds, the loss last: in its place in a training pass, and alone, run several times in
  /// a row with everything it touches as near as it can be. The shortest of `repeats` measurements.
  struct StageTimes {
    std::string kind;
    double forward = 0, backward = 0, forward_alone = 0, backward_alone = 0;
  };
  std::vector<StageTimes> profile(std::span<const std::int64_t> ids, const float* x, const std::int32_t* labels,
                                  float* gradients, int repeats);

 private:
  enum class Part { forward, loss, backward };

  Pass make_pass(const Input& input, std::uint64_t seed, const Step& step) const;
  /// around(part, stage, run) calls run() where the stage's turn has come; the number of stages stands for the loss.
  template <class Around>
  void run_training(const Pass& pass, const Input& input, const Output& output, Around&& around);
  template <class Around>
  void run_piece(int piece, const Pass& pass, const Input& input, const Output& output, const float* whole, float* part,
                 Around&& around);
  template <class Around>
  void run_forward(const Pass& pass, std::size_t first, std::size_t last, Around&& around);
  /// The one after a piece, which is passed in forward and once more in backward.
  std::size_t meeting(int piece) const {
    const auto k = static_cast<std::size_t>(piece), meetings = meetings_.size();
    return k < meetings ? k : 2 * meetings - k - 1;
  }
  StepSums& sums(std::size_t meeting) const { return *network_.stages[meetings_[meeting]].layer->step_sums(); }
  void forward(Stage& stage, const Pass& pass);
  void backward(Stage& stage, const Pass& pass);
  void clear_gradients(const Stage& stage);
  void loss(const Input& input, const float* outputs, float smoothing, float* gradient, LossSum* sum) const;
  const void* at(int place) const {
    return place == 0 ? input_ : byte(activations_, place_offsets_[static_cast<std::size_t>(place)]);
  }
  void* difference(int slot) const {
    return slot == kNone ? nullptr : byte(differences_, slot_offsets_[static_cast<std::size_t>(slot)]);
  }
  static void* byte(const Buffer& memory, std::int64_t offset) {
    return static_cast<std::byte*>(memory.data()) + offset;
  }

  Kernels& kernels_;
  LossKind loss_;
  float label_smoothing_;
  Network network_;
  std::vector<std::int64_t> batches_;                       // by slot of kernels
  std::vector<std::int64_t> place_offsets_, slot_offsets_;  // of tensors and of gradients, in bytes
  Buffer activations_, differences_;
  Buffer zeros_;  // gradients of what is not trained
  const Shape input_shape_;
  const void* input_ = nullptr;
  std::optional<EvaluationViews> views_;
  std::vector<std::size_t> meetings_;  // stages whose layers need sums over all micro-batches, in order
  std::int64_t measured_floats_ = 0;   // by a piece, at most
  Buffer measured_;                    // where a micro-batch is all of its step
};

}  // namespace dptrain
