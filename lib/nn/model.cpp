#include "nn/model.h"

#include <algorithm>

#include "core/error.h"
#include "nn/layers/unary.h"

namespace dptrain {

namespace {

constexpr std::int64_t kAlignFloats = 16;

std::int64_t aligned(std::int64_t floats) {
  return (floats + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
}

}  // namespace

Model::Model(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch) : kernels_(kernels), loss_(spec.loss) {
  TensorDesc tensor(spec.input);
  std::vector<std::vector<Parameter>> by_layer;
  bool fused_before = false, parameters_before = false;
  const auto to_plain = [&] {
    add_stage("reorder", std::make_unique<Unary>(kernels_.reorder_to_plain(tensor), false));
    tensor = stages_.back().layer->output();
  };
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    if (!takes_layout(layer, tensor)) to_plain();
    LayerContext context{.kernels = kernels_,
                         .input = tensor,
                         .index = static_cast<std::uint32_t>(i),
                         .full_batch = full_batch,
                         .fused = {},
                         .fused_before = fused_before,
                         .input_gradient = parameters_before};
    fused_before = i + 1 < spec.layers.size() && can_fuse(layer, spec.layers[i + 1]);
    if (fused_before) context.fused = std::get<ActivationSpec>(spec.layers[i + 1].op);
    add_stage(layer_kind(layer), make_layer(layer, context));
    tensor = stages_.back().layer->output();
    std::vector<Parameter> parameters;
    for (ParameterDesc& desc : stages_.back().layer->parameters()) {
      const auto index = static_cast<std::uint32_t>(parameters.size());
      parameters.push_back({fmt::format("{}.{}", i, desc.name), desc, context.index, index, 0});
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
  }
}

void Model::add_stage(std::string kind, std::unique_ptr<Layer> layer) {
  Stage stage{.kind = std::move(kind), .layer = std::move(layer), .views = {}, .offsets = {}, .input = 0, .output = 0};
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
  activations_ = Buffer::host_floats(floats);
  differences_ = Buffer::host_floats(2 * widest);
  difference_[0] = differences_.floats();
  difference_[1] = differences_.floats() + widest;
}

void Model::bind(const float* parameters) {
  for (Stage& stage : stages_) {
    for (std::size_t p = 0; p < stage.offsets.size(); ++p) stage.views.values[p] = parameters + stage.offsets[p];
  }
}

Pass Model::make_pass(std::span<const std::int64_t> ids) const {
  const auto batch = static_cast<std::int64_t>(ids.size());
  const auto found = std::find(batches_.begin(), batches_.end(), batch);
  DPTRAIN_CHECK(found != batches_.end(), "no batch of {} samples was prepared", batch);
  Pass pass;
  pass.slot = static_cast<Slot>(found - batches_.begin());
  pass.batch = batch;
  pass.ids = ids;
  return pass;
}

void Model::run_forward(const Pass& pass, const float* x) {
  input_ = x;
  for (Stage& stage : stages_) {
    // In place or not, a stage writes only places that are not the input's.
    stage.layer->forward(pass, stage.views, at(stage.input), const_cast<float*>(at(stage.output)));
  }
}

LossSum Model::loss(const std::int32_t* labels, std::int64_t samples, float* gradient) const {
  const std::int64_t classes = outputs_per_sample();
  return loss_ == LossKind::cross_entropy ? kernels_.cross_entropy(outputs(), labels, samples, classes, gradient)
                                          : kernels_.mean_squared_error(outputs(), labels, samples, classes, gradient);
}

LossSum Model::train(std::uint64_t seed, std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                     const std::int32_t* labels, float* gradients) {
  Pass pass = make_pass(ids);
  pass.seed = seed;
  pass.step = step;
  run_forward(pass, x);
  int current = 0;
  const LossSum sum = loss(labels, pass.batch, difference_[current]);
  for (std::size_t s = stages_.size(); s-- > first_trainable_;) {
    Stage& stage = stages_[s];
    for (std::size_t p = 0; p < stage.offsets.size(); ++p) stage.views.gradients[p] = gradients + stage.offsets[p];
    float* dy = difference_[current];
    float* dx = nullptr;  // of the first layer with parameters: nobody wants it, so it is never computed
    if (s > first_trainable_) {
      if (!stage.layer->backward_in_place()) current = 1 - current;
      dx = difference_[current];
    }
    stage.layer->backward(pass, stage.views, at(stage.input), at(stage.output), dy, dx);
  }
  return sum;
}

LossSum Model::evaluate(std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                        const std::int32_t* labels) {
  Pass pass = make_pass(ids);
  pass.training = false;
  pass.step = step;
  run_forward(pass, x);
  return loss(labels, pass.batch, nullptr);
}

std::vector<Model::StageInfo> Model::stages() const {
  std::vector<StageInfo> all;
  for (const Stage& stage : stages_) all.push_back({stage.kind, stage.layer->output(), stage.layer->implementations()});
  return all;
}

}  // namespace dptrain
