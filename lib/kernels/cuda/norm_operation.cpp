// Batch, group and layer normalisation over the kernels that compute them.
#include <algorithm>

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/norm_rows.h"

namespace dptrain::cuda {

namespace {

class Norm final : public NormOperation {
 public:
  Norm(Context& context, const NormConfig& config)
      : context_(context), config_(config), epsilon_(static_cast<float>(config.spec.epsilon)) {
    DPTRAIN_CHECK(!config.input.padded(), "nothing is padded on a GPU");
    DPTRAIN_CHECK(config.input.shape.rank() == 3 || config.input.plain(), "features are normalised in plain layout");
    sample_.channels = config.input.shape[0];
    sample_.pixels = config.input.shape.elements() / sample_.channels;
    sample_.groups = config.spec.kind == NormKind::batch ? 0 : config.spec.groups;
    sample_.channels_last = !config.input.plain() || sample_.pixels == 1;
    sample_.type = config.input.type;
  }

  const TensorDesc& output() const override { return config_.input; }
  std::vector<std::string> implementations() const override { return {}; }

  void prepare(std::int64_t batch) override {
    batches_.push_back(batch);
    const NormShape shape = of(batch), channels = by_channel(shape);
    for (Buffer* buffer : {&moments_, &statistics_, &sums_}) grow(*buffer, std::max(shape.sets(), channels.sets()));
    grow(scratch_, std::max(norm_scratch_entries(shape), norm_scratch_entries(channels)));
    if (normalises_rows(shape)) grow(scratch_, row_norm_scratch_entries(shape));
  }

  void forward(Slot slot, const void* x, const NormParameters& parameters, void* y) override {
    const NormShape shape = of_slot(slot);
    step_ = nullptr;
    if (normalises_rows(shape))
      return normalise_rows(context_, forward_of(shape, parameters), epsilon_, x, pairs(scratch_), pairs(moments_),
                            pairs(statistics_), y);
    moments(context_, shape, x, pairs(scratch_), pairs(moments_));
    statistics_of_moments(context_, shape, pairs(moments_), epsilon_, pairs(statistics_));
    normalise(context_, forward_of(shape, parameters), x, y);
  }

  void measure(Slot slot, const void* x, float* step) override {
    const NormShape shape = of_slot(slot);
    moments(context_, shape, x, pairs(scratch_), pairs(moments_));
    step_moments(context_, shape, pairs(moments_), step);
  }
  void forward_with(Slot slot, const void* x, const NormParameters& parameters, const float* step, void* y) override {
    const NormShape shape = of_slot(slot);
    step_ = step;
    parameters_ = parameters;
    statistics_of_step(context_, shape.channels, step, epsilon_, pairs(statistics_));
    normalise(context_, forward_of(shape, parameters), x, y);
  }
  /// The parameters of the latest forward_with() say where its ReLU gave zero.
  void measure_gradient(Slot slot, const void* x, const void* dy, float* sums) override {
    const NormShape shape = of_slot(slot);
    gradient_sums(context_, forward_of(shape, parameters_), shape, false, x, dy, pairs(scratch_), pairs(sums_));
    spread_pairs(context_, shape.channels, pairs(sums_), sums);
  }
  void backward_with(Slot slot, const void* x, const NormParameters& parameters, const NormSums& sums, const void* dy,
                     void* dx, const NormGradients& gradients) override {
    const NormShape shape = of_slot(slot);
    gather_pairs(context_, shape.channels, sums.own, pairs(sums_));
    parameter_gradients(context_, shape.channels, pairs(sums_), gradients.weight, gradients.bias);
    if (dx == nullptr) return;
    gather_pairs(context_, shape.channels, sums.all, pairs(sums_));
    norm_backward(context_, forward_of(shape, parameters), pairs(sums_), x, dy, dx, step_);
  }

  void infer(Slot slot, const void* x, const NormParameters& parameters, void* y) override {
    const NormShape shape = of_slot(slot);
    statistics_of_running(context_, shape.channels, parameters.mean, parameters.variance, epsilon_, pairs(statistics_));
    normalise(context_, forward_of(shape, parameters), x, y);
  }

  void backward(Slot slot, const void* x, const NormParameters& parameters, const void* dy, void* dx,
                const NormGradients& gradients) override {
    const NormShape shape = of_slot(slot);
    const NormForward forward = forward_of(shape, parameters);
    if (normalises_rows(shape))
      return normalise_rows_backward(context_, forward, pairs(moments_), x, dy, pairs(scratch_),
                                     {gradients.weight, gradients.bias, gradients.mean, gradients.variance}, dx);
    const bool batch_norm = shape.groups == 0;
    if (batch_norm || gradients.weight != nullptr || gradients.bias != nullptr) {
      gradient_sums(context_, forward, by_channel(shape), false, x, dy, pairs(scratch_), pairs(sums_));
      parameter_gradients(context_, shape.channels, pairs(sums_), gradients.weight, gradients.bias);
    }
    if (dx == nullptr) return;
    if (!batch_norm) gradient_sums(context_, forward, shape, true, x, dy, pairs(scratch_), pairs(sums_));
    norm_backward(context_, forward, pairs(sums_), x, dy, dx);
  }

  bool backward_writes_statistics() const override { return normalises_rows(sample_); }
  void statistics(Slot slot, float* mean, float* variance) override {
    if (step_ != nullptr) return running_sums_of_step(context_, of_slot(slot), step_, mean, variance);
    running_sums(context_, of_slot(slot), pairs(moments_), mean, variance);
  }

 private:
  NormShape of(std::int64_t batch) const {
    NormShape shape = sample_;
    shape.samples = batch;
    return shape;
  }
  NormShape of_slot(Slot slot) const { return of(batches_[static_cast<std::size_t>(slot)]); }
  static NormShape by_channel(NormShape shape) {
    shape.groups = 0;
    return shape;
  }
  NormForward forward_of(const NormShape& shape, const NormParameters& parameters) const {
    return {.shape = shape,
            .statistics = pairs(statistics_),
            .weight = parameters.weight,
            .bias = parameters.bias,
            .relu = config_.relu};
  }
  static Pair* pairs(const Buffer& buffer) { return static_cast<Pair*>(buffer.data()); }
  static void grow(Buffer& buffer, std::int64_t entries) {
    const auto bytes = static_cast<std::size_t>(entries) * sizeof(Pair);
    if (buffer.size() < bytes) buffer = device_buffer(bytes);
  }

  Context& context_;
  NormConfig config_;
  float epsilon_;
  NormShape sample_;
  std::vector<std::int64_t> batches_;  // by slot
  Buffer moments_, statistics_, sums_, scratch_;
  const float* step_ = nullptr;  // moments of the latest forward_with(), where that was the latest forward
  NormParameters parameters_{};  // likewise
};

}  // namespace

std::unique_ptr<NormOperation> make_norm(Context& context, const NormConfig& config) {
  return std::make_unique<Norm>(context, config);
}

}  // namespace dptrain::cuda
