#include "nn/model.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace dptrain {

namespace {

std::int64_t aligned(std::int64_t bytes) {
  constexpr std::int64_t kCacheLine = 64;
  return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

}  // namespace

Model::Model(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch, ElementType compute)
    : kernels_(kernels),
      loss_(spec.loss),
      label_smoothing_(static_cast<float>(spec.label_smoothing)),
      network_(build_network(spec, kernels, full_batch, compute)) {}

void Model::prepare(std::span<const std::int64_t> batches) {
  DPTRAIN_CHECK(batches_.empty() && !batches.empty(), "a model is prepared once, for at least one batch size");
  batches_.assign(batches.begin(), batches.end());
  for (const std::int64_t batch : batches_) {
    for (Stage& stage : network_.stages) {
      if (stage.layer != nullptr) stage.layer->prepare(batch);
      if (stage.owned_sum != nullptr) stage.owned_sum->prepare(batch);
    }
  }
  const std::int64_t largest = *std::max_element(batches_.begin(), batches_.end());
  const auto place = [&](const std::vector<std::int64_t>& bytes_per_sample, std::size_t first, Buffer& memory) {
    std::vector<std::int64_t> offsets(first);
    std::int64_t bytes = 0;
    for (std::size_t i = first; i < bytes_per_sample.size(); ++i) {
      offsets.push_back(bytes);
      bytes += aligned(bytes_per_sample[i] * largest);
    }
    memory = kernels_.allocate(static_cast<std::size_t>(bytes));
    return offsets;
  };
  place_offsets_ = place(network_.places, 1, activations_);
  slot_offsets_ = place(network_.slots, 0, differences_);
}

void Model::bind(const float* parameters) {
  for (Stage& stage : network_.stages) {
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
  for (std::size_t s = 0; s < network_.stages.size(); ++s) {
    // In place or not, a stage writes only places that are not the input's.
    around(Part::forward, s, [&] { forward(network_.stages[s], pass); });
  }
}

void Model::forward(Stage& stage, const Pass& pass) {
  void* y = const_cast<void*>(at(stage.output));
  if (stage.layer != nullptr)
    stage.layer->forward(pass, stage.views, at(stage.input), y);
  else if (stage.other != kNone)
    stage.sum->forward(pass.slot, at(stage.input), at(stage.other), y);
}

void Model::backward(Stage& stage, const Pass& pass) {
  if (stage.layer != nullptr)
    stage.layer->backward(pass, stage.views, at(stage.input), at(stage.output), difference(stage.dy),
                          difference(stage.dx));
  else
    stage.sum->backward(pass.slot, difference(stage.dy), difference(stage.base),
                        stage.rectified == kNone ? nullptr : at(stage.rectified), difference(stage.dx));
}

template <class Around>
void Model::run_training(const Pass& pass, const Input& input, const Output& output, Around&& around) {
  run_forward(pass, input.x, around);
  around(Part::loss, network_.stages.size(),
         [&] { loss(input, label_smoothing_, static_cast<float*>(difference(network_.loss_slot)), output.loss); });
  for (std::size_t s = network_.stages.size(); s-- > 0;) {
    Stage& stage = network_.stages[s];
    if (!stage.has_backward) continue;
    for (std::size_t p = 0; p < stage.offsets.size(); ++p)
      stage.views.gradients[p] = output.gradients + stage.offsets[p];
    around(Part::backward, s, [&] { backward(stage, pass); });
    if (output.finished && !stage.offsets.empty()) output.finished(stage.end);
  }
}

void Model::loss(const Input& input, float smoothing, float* gradient, LossSum* sum) const {
  const std::int64_t classes = outputs_per_sample();
  if (loss_ == LossKind::cross_entropy)
    kernels_.cross_entropy(outputs(), input.labels, input.batch, classes, smoothing, gradient, sum);
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
  loss(input, /*smoothing=*/0, nullptr, sum);
}

LossSum Model::train(std::uint64_t seed, std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                     const std::int32_t* labels, float* gradients, std::optional<std::int64_t> weights) {
  LossSum sum;
  train(seed, {step, &step, weights}, {static_cast<std::int64_t>(ids.size()), ids.data(), x, labels},
        {.gradients = gradients, .loss = &sum});
  return sum;
}

LossSum Model::evaluate(std::int64_t step, std::span<const std::int64_t> ids, const float* x,
                        const std::int32_t* labels, std::optional<std::int64_t> weights) {
  LossSum sum;
  evaluate({step, &step, weights}, {static_cast<std::int64_t>(ids.size()), ids.data(), x, labels}, &sum);
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
  for (const Stage& stage : network_.stages) times.push_back({.kind = stage.kind});
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
  for (const Stage& stage : network_.stages) {
    std::vector<std::string> implementations;
    if (stage.layer != nullptr) implementations = stage.layer->implementations();
    all.push_back({stage.kind, stage.tensor, std::move(implementations)});
  }
  return all;
}

}  // namespace dptrain
