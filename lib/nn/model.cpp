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

/// Of a stage's parameters, which lie next to each other.
std::int64_t parameter_bytes(const Stage& stage) {
  if (stage.offsets.empty()) return 0;
  return (stage.end - stage.offsets.front()) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

Model::Model(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch, ElementType compute)
    : kernels_(kernels),
      loss_(spec.loss),
      label_smoothing_(static_cast<float>(spec.label_smoothing)),
      network_(build_network(spec, kernels, full_batch, compute)),
      input_shape_(spec.input) {
  std::int64_t floats = 0;
  for (std::size_t s = 0; s < network_.stages.size(); ++s) {
    const Stage& stage = network_.stages[s];
    StepSums* sums = stage.layer == nullptr ? nullptr : stage.layer->step_sums();
    if (sums == nullptr) continue;
    meetings_.push_back(s);
    floats = std::max(floats, sums->floats());
  }
  measured_floats_ = floats;
  measured_ = kernels_.allocate(static_cast<std::size_t>(floats) * sizeof(float));
}

void Model::prepare(std::span<const std::int64_t> batches, std::int64_t views) {
  DPTRAIN_CHECK(batches_.empty() && !batches.empty(), "a model is prepared once, for at least one batch size");
  batches_.assign(batches.begin(), batches.end());
  for (const std::int64_t batch : batches_) {
    for (Stage& stage : network_.stages) {
      if (stage.layer != nullptr) stage.layer->prepare(batch);
      if (stage.owned_sum != nullptr) stage.owned_sum->prepare(batch);
    }
  }
  const std::int64_t largest = *std::max_element(batches_.begin(), batches_.end());
  PlaceOffsets places = place_offsets(network_, largest);
  place_offsets_ = std::move(places.offsets);
  activations_ = kernels_.allocate(static_cast<std::size_t>(places.bytes));
  std::int64_t bytes = 0;
  for (const std::int64_t slot : network_.slots) {
    slot_offsets_.push_back(bytes);
    bytes += aligned(slot * largest);
  }
  differences_ = kernels_.allocate(static_cast<std::size_t>(bytes));
  std::int64_t cleared = 0;
  for (const Stage& stage : network_.stages)
    if (!stage.has_backward) cleared = std::max(cleared, parameter_bytes(stage));
  if (cleared > 0) zeros_ = kernels_.allocate(static_cast<std::size_t>(cleared));
  views_.emplace(kernels_, views, input_shape_, outputs_per_sample(), largest);
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
void Model::run_forward(const Pass& pass, std::size_t first, std::size_t last, Around&& around) {
  for (std::size_t s = first; s < last; ++s) {
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
  for (int piece = 0; piece < pieces(); ++piece)
    run_piece(piece, pass, input, output, measured_.floats(), measured_.floats(), around);
}

template <class Around>
void Model::run_piece(int piece, const Pass& pass, const Input& input, const Output& output, const float* whole,
                      float* part, Around&& around) {
  const auto begun = static_cast<std::size_t>(piece);  // meetings before this piece
  const std::size_t stages = network_.stages.size(), meetings = meetings_.size();
  if (begun <= meetings) {
    input_ = input.x;
    if (begun > 0) sums(begun - 1).tell_forward(whole);
    const std::size_t last = begun < meetings ? meetings_[begun] : stages;
    run_forward(pass, begun > 0 ? meetings_[begun - 1] : 0, last, around);
    if (begun < meetings) return sums(begun).measure_forward(pass, at(network_.stages[last].input), part);
    around(Part::loss, stages, [&] {
      loss(input, outputs(), label_smoothing_, static_cast<float*>(difference(network_.loss_slot)), output.loss);
    });
  }
  const std::size_t ahead = 2 * meetings - begun;  // meetings behind it
  const bool told = ahead < meetings;
  if (told) sums(ahead).tell_backward(whole);
  for (std::size_t s = told ? meetings_[ahead] + 1 : stages; s-- > 0;) {
    Stage& stage = network_.stages[s];
    const auto recompute = [&] {
      for (const std::size_t again : stage.again) forward(network_.stages[again], pass);
    };
    if (ahead > 0 && s == meetings_[ahead - 1]) {
      recompute();
      return sums(ahead - 1).measure_backward(pass, at(stage.input), difference(stage.dy), part);
    }
    if (!stage.has_backward && stage.again.empty() && stage.offsets.empty()) continue;
    const bool met = told && s == meetings_[ahead];
    for (std::size_t p = 0; p < stage.offsets.size(); ++p)
      stage.views.gradients[p] = output.gradients + stage.offsets[p];
    around(Part::backward, s, [&] {
      if (!met) recompute();
      if (stage.has_backward)
        backward(stage, pass);
      else
        clear_gradients(stage);
    });
    if (output.finished && !stage.offsets.empty()) output.finished(stage.end);
  }
}

/// Of parameters that are not trained, of which nobody finds out what their gradients are.
void Model::clear_gradients(const Stage& stage) {
  if (!stage.offsets.empty()) kernels_.copy(zeros_.data(), parameter_bytes(stage), stage.views.gradients.front());
}

void Model::merge(int piece, const float* a, const float* b, float* both) const {
  if (static_cast<std::size_t>(piece) < meetings_.size())
    sums(meeting(piece)).merge_forward(a, b, both);
  else
    sums(meeting(piece)).merge_backward(a, b, both);
}

std::int64_t Model::final_floats(int piece) const {
  if (static_cast<std::size_t>(piece) < meetings_.size()) return 0;
  if (piece + 1 == pieces()) return network_.table.floats();
  std::int64_t floats = 0;
  for (std::size_t s = meetings_[meeting(piece)] + 1; s < network_.stages.size(); ++s)
    floats = std::max(floats, network_.stages[s].end);
  return floats;
}

void Model::loss(const Input& input, const float* outputs, float smoothing, float* gradient, LossSum* sum) const {
  const std::int64_t classes = outputs_per_sample();
  if (loss_ == LossKind::cross_entropy)
    kernels_.cross_entropy(outputs, input.labels, input.batch, classes, smoothing, gradient, sum);
  else
    kernels_.mean_squared_error(outputs, input.labels, input.batch, classes, gradient, sum);
}

void Model::train(std::uint64_t seed, const Step& step, const Input& input, const Output& output) {
  run_training(make_pass(input, seed, step), input, output, [](Part, std::size_t, auto&& run) { run(); });
}

void Model::train_piece(int piece, std::uint64_t seed, const Step& step, const Input& input, const Output& output,
                        const float* whole, float* part) {
  run_piece(piece, make_pass(input, seed, step), input, output, whole, part,
            [](Part, std::size_t, auto&& run) { run(); });
}

void Model::evaluate(const Step& step, const Input& input, LossSum* sum) {
  Pass pass = make_pass(input, 0, step);
  pass.training = false;
  const auto forward = [&](const float* x) {
    input_ = x;
    run_forward(pass, 0, network_.stages.size(), [](Part, std::size_t, auto&& run) { run(); });
    return outputs();
  };
  const float* results = views_->are_many() ? views_->mean(input.batch, input.x, forward) : forward(input.x);
  loss(input, results, /*smoothing=*/0, nullptr, sum);
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

std::int64_t Model::copy_bytes() const {
  std::int64_t bytes =
      kernels_.workspace_bytes() + (views_ ? views_->bytes() : 0) + static_cast<std::int64_t>(zeros_.size());
  for (const Stage& stage : network_.stages) bytes += stage.layer == nullptr ? 0 : stage.layer->copy_bytes();
  return bytes;
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
