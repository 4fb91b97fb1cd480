#include "nn/model.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "nn/layers/unary.h"

namespace dptrain {

namespace {

constexpr std::int64_t kAlignFloats = 16;

std::int64_t aligned(std::int64_t floats) {
  return (floats + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
}

/// A layer where its turn has come.
struct Turn {
  std::size_t layer = 0;
  std::optional<ActivationSpec> fused;  ///< the activation that this layer computes along with its own output
  bool fused_before = false;            ///< this is that activation: its forward is done
};

/// The layers in the order in which they run. A ReLU that is fused into the layer before it moves behind a max pool that
/// follows it: the maximum of ReLUs is the ReLU of the maximum, so nothing changes, to the bit, but its gradient is taken
/// where the tensor is smaller.
std::vector<Turn> running_order(const std::vector<LayerSpec>& layers) {
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    turns.push_back({.layer = i, .fused = {}, .fused_before = false});
    if (i + 1 == layers.size() || !can_fuse(layers[i], layers[i + 1])) continue;
    const auto& activation = std::get<ActivationSpec>(layers[i + 1].op);
    turns.back().fused = activation;
    const auto* pool = i + 2 < layers.size() ? std::get_if<Pool2dSpec>(&layers[i + 2].op) : nullptr;
    const bool moves = activation.kind == ActivationKind::relu && pool != nullptr && pool->kind == PoolKind::max;
    if (moves) turns.push_back({.layer = i + 2, .fused = {}, .fused_before = false});
    turns.push_back({.layer = i + 1, .fused = {}, .fused_before = true});
    i += moves ? 2 : 1;
  }
  return turns;
}

}  // namespace

Model::Model(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch) : kernels_(kernels), loss_(spec.loss) {
  TensorDesc tensor(spec.input);
  std::vector<std::vector<Parameter>> by_layer;
  bool parameters_before = false;
  const auto to_plain = [&] {
    add_stage("reorder", std::make_unique<Unary>(kernels_.reorder_to_plain(tensor), false));
    tensor = stages_.back().layer->output();
  };
  for (const Turn& turn : running_order(spec.layers)) {
    const LayerSpec& layer = spec.layers[turn.layer];
    if (!takes_layout(layer, tensor)) to_plain();
    const LayerContext context{.kernels = kernels_,
                               .input = tensor,
                               .index = static_cast<std::uint32_t>(turn.layer),
                               .full_batch = full_batch,
                               .fused = turn.fused,
                               .fused_before = turn.fused_before,
                               .input_gradient = parameters_before};
    add_stage(layer_kind(layer), make_layer(layer, context));
    tensor = stages_.back().layer->output();
    std::vector<Parameter> parameters;
    for (ParameterDesc& desc : stages_.back().layer->parameters()) {
      const auto index = static_cast<std::uint32_t>(parameters.size());
      parameters.push_back({fmt::format("{}.{}", turn.layer, desc.name), desc, context.index, index, 0});
    }
    parameters_before = parameters_before || !parameters.empty();
    by_layer.push_back(std::move(parameters));
  }
  if (!tensor.plain()) to_plain();

  std::vector<Parameter> flat;
  for (auto layer = by_layer.rbegin(); layer != by_layer.rend(); ++layer)
    flat.insert(flat.end(), layer->begin(), layer->end());
  table_ = ParameterTable(std::move(flat));
  first_trainable_ = stages_.size();
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const std::size_t count = stages_[s].layer->parameters().size();
    if (count > 0) first_trainable_ = std::min(first_trainable_, s);
    stages_[s].views.values.resize(count);
    stages_[s].views.gradients.resize(count);
    stages_[s].offsets.resize(count);
  }
  // Stages with parameters are the layers with parameters, in order; the table has them in reverse.
  std::vector<Stage*> trainable;
  for (Stage& stage : stages_) {
    if (!stage.offsets.empty()) trainable.push_back(&stage);
  }
  std::size_t next = trainable.size();
  for (const Parameter& p : table_.all()) {
    if (p.index == 0) --next;
    trainable[next]->offsets[p.index] = p.offset;
    trainable[next]->end = p.offset + p.desc.stored_floats;
  }
}

void Model::add_stage(std::string kind, std::unique_ptr<Layer> layer) {
  Stage stage{.kind = std::move(kind),
              .layer = std::move(layer),
              .views = {},
              .offsets = {},
              .end = 0,
              .input = 0,
              .output = 0};
  stage.input = stages_.empty() ? 0 : stages_.back().output;
  const auto input = static_cast<std::size_t>(stage.input);
  const bool in_place = stage.layer->passes_through() || (stage.layer->can_forward_in_place() && !kept_[input]);
  if (stage.layer->backward_reads_input()) kept_[input] = true;
  if (in_place) {
    stage.output = stage.input;
  } else {
    stage.output = static_cast<int>(places_.size());
    places_.push_back({stage.layer->output().size(), 0});
    kept_.push_back(false);
  }
  if (stage.layer->backward_reads_output()) kept_[static_cast<std::size_t>(stage.output)] = true;
  stages_.push_back(std::move(stage));
}

void Model::prepare(std::span<const std::int64_t> batches) {
  DPTRAIN_CHECK(batches_.empty() && !batches.empty(), "a model is prepared once, for at least one batch size");
  batches_.assign(batches.begin(), batches.end());
  for (const std::int64_t batch : batches_) {
    for (Stage& stage : stages_) stage.layer->prepare(batch);
  }
  const std::int64_t largest = *std::max_element(batches_.begin(), batches_.end());
  std::int64_t floats = 0, widest = 0;
  for (Place& place : places_) {
    place.offset = floats;
    floats += aligned(place.floats_per_sample * largest);
    widest = std::max(widest, aligned(place.floats_per_sample * largest));
  }
  activations_ = kernels_.allocate(static_cast<std::size_t>(floats) * sizeof(float));
  differences_ = kernels_.allocate(static_cast<std::size_t>(2 * widest) * sizeof(float));
  difference_[0] = differences_.floats();
  difference_[1] = differences_.floats() + widest;
}

void Model::bind(const float* parameters) {
  for (Stage& stage : stages_) {
    for (std::size_t p = 0; p < stage.offsets.size(); ++p) stage.views.values[p] = parameters + stage.offsets[p];
  }
}

Pass Model::make_pass(const Input& input, std::uint64_t seed, const Step& step) const {
  const auto found = std::find(batches_.begin(), batches_.end(), input.batch);
  DPTRAIN_CHECK(found != batches_.end(), "no batch of {} samples was prepared", input.batch);
  Pass pass;
  pass.slot = static_cast<Slot>(found - batches_.begin());
  pass.batch = input.batch;
  pass.ids = input.ids;
  pass.seed = seed;
  pass.step = step.number;
  pass.step_on_device = step.on_device;
  pass.weights = step.weights.value_or(step.number);
  return pass;
}

template <class Around>
void Model::run_forward(const Pass& pass, const float* x, Around&& around) {
  input_ = x;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    Stage& stage = stages_[s];
    // In place or not, a stage writes only places that are not the input's.
    around(Part::forward, s,
           [&] { stage.layer->forward(pass, stage.views, at(stage.input), const_cast<float*>(at(stage.output))); });
  }
}

template <class Around>
void Model::run_training(const Pass& pass, const Input& input, const Output& output, Around&& around) {
  run_forward(pass, input.x, around);
  int current = 0;
  around(Part::loss, stages_.size(), [&] { loss(input, difference_[current], output.loss); });
  for (std::size_t s = stages_.size(); s-- > first_trainable_;) {
    Stage& stage = stages_[s];
    for (std::size_t p = 0; p < stage.offsets.size(); ++p)
      stage.views.gradients[p] = output.gradients + stage.offsets[p];
    float* dy = difference_[current];
    float* dx = nullptr;  // of the first layer with parameters: nobody wants it, so it is never computed
    if (s > first_trainable_) {
      if (!stage.layer->backward_in_place()) current = 1 - current;
      dx = difference_[current];
    }
    around(Part::backward, s,
           [&] { stage.layer->backward(pass, stage.views, at(stage.input), at(stage.output), dy, dx); });
    if (output.finished && !stage.offsets.empty()) output.finished(stage.end);
  }
}

void Model::loss(const Input& input, float* gradient, LossSum* sum) const {
  const std::int64_t classes = outputs_per_sample();
  if (loss_ == LossKind::cross_entropy)
    kernels_.cross_entropy(outputs(), input.labels, input.batch, classes, gradient, sum);
  else
    kernels_.mean_squared_error(outputs(), input.labels, input.batch, classes, gradient, sum);
}

void Model::train(std::uint64_t seed, const Step& step, const Input& input, const Output& output) {
  run_training(make_pass(input, seed, step), input, output, [](Part, std::size_t, auto&& run) { run(); });
}

void Model::evaluate(const Step& step, const Input& input, LossSum* sum) {
  Pass pass = make_pass(input, 0, step);
  pass.training = false;
  run_forward(pass, input.x, [](Part, std::size_t, auto&& run) { run(); });
  loss(input, nullptr, sum);
}

LossSum Model::train(std::uint64_t seed, std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                     const std::int32_t* labels, float* gradients, std::optional<std::int64_t> weights) {
  LossSum sum;
  train(seed, {step, &step, weights}, {static_cast<std::int64_t>(ids.size()), ids.data(), x, labels},
        {.gradients = gradients, .loss = &sum});
  return sum;
}

LossSum Model::evaluate(std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                        const std::int32_t* labels) {
  LossSum sum;
  evaluate({step, &step}, {static_cast<std::int64_t>(ids.size()), ids.data(), x, labels}, &sum);
  return sum;
}

std::vector<Model::StageTimes> Model::profile(std::span<const std::int64_t> ids, const float* x,
                                              const std::int32_t* labels, float* gradients, int repeats) {
  using Clock = std::chrono::steady_clock;
  const std::int64_t step = 0;
  LossSum sum;
  const Input input{static_cast<std::int64_t>(ids.size()), ids.data(), x, labels};
  const Output output{.gradients = gradients, .loss = &sum};
  const Pass pass = make_pass(input, 0, {step, &step});
  std::vector<StageTimes> times;
  for (const Stage& stage : stages_) times.push_back({.kind = stage.kind});
  times.push_back({.kind = "loss"});
  const auto measure = [&](int times_in_a_row, double StageTimes::*forward, double StageTimes::*backward) {
    for (int r = 0; r < repeats; ++r) {
      run_training(pass, input, output, [&](Part part, std::size_t s, auto&& run) {
        if (times_in_a_row > 1) run();  // warm
        const Clock::time_point start = Clock::now();
        for (int k = 0; k < times_in_a_row; ++k) run();
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / times_in_a_row;
        double& shortest = times[s].*(part == Part::backward ? backward : forward);
        if (r == 0 || seconds < shortest) shortest = seconds;
      });
    }
  };
  constexpr int kAlone = 5;
  measure(1, &StageTimes::forward, &StageTimes::backward);
  measure(kAlone, &StageTimes::forward_alone, &StageTimes::backward_alone);
  return times;
}

std::vector<Model::StageInfo> Model::stages() const {
  std::vector<StageInfo> all;
  for (const Stage& stage : stages_) all.push_back({stage.kind, stage.layer->output(), stage.layer->implementations()});
  return all;
}

}  // namespace dptrain
