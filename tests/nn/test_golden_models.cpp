// Whole models against PyTorch: logits, first gradients, ten losses and the weights behind them, for every optimizer
// setting of the golden files; with the batch in one piece and cut into micro-batches.
#include <doctest/doctest.h>

#include <map>

#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "support/compare.h"
#include "support/golden.h"
#include "support/one_thread.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-5;  // relative to the tensor's largest value, see difference()

/// Trains as the trainer does, with one replica and none of its machinery.
class Training {
 public:
  Training(const SafetensorsFile& data, const JobSpec& job, std::vector<std::int64_t> cut)
      : data_(data),
        job_(job),
        cut_(std::move(cut)),
        kernels_(make_cpu_kernels()),
        model_(job.model, *kernels_, cut_.front()) {
    std::vector<std::int64_t> sizes;
    for (const std::int64_t size : cut_) {
      if (std::find(sizes.begin(), sizes.end(), size) == sizes.end()) sizes.push_back(size);
      batch_ += size;
    }
    model_.prepare(sizes);
    for (Buffer* buffer : {&parameters_, &gradients_, &part_, &state_[0], &state_[1]}) {
      *buffer = Buffer::host_floats(model_.parameters().floats());
    }
    for (const Parameter& p : model_.parameters().all()) {
      model_.parameters().set_canonical(p, data.floats("init." + p.name).data(), parameters_.floats());
    }
    model_.bind(parameters_.floats());
  }

  /// The mean loss before the update.
  double step(std::int64_t step) {
    const auto& bytes = data_.values<std::uint8_t>("inputs");
    const auto& labels = data_.values<std::int64_t>("labels");
    const std::int64_t features = job_.model.input.elements();
    const std::size_t floats = static_cast<std::size_t>(model_.parameters().floats());
    const std::span<float> gradients(gradients_.floats(), floats);
    std::fill(gradients.begin(), gradients.end(), 0.0f);
    logits_.clear();
    double loss = 0;
    std::int64_t first = step * batch_;
    for (const std::int64_t size : cut_) {
      std::vector<float> x;
      std::vector<std::int32_t> y;
      std::vector<std::int64_t> ids;
      for (std::int64_t s = first; s < first + size; ++s) {
        for (const int byte :
             bytes.subspan(static_cast<std::size_t>(s * features), static_cast<std::size_t>(features))) {
          x.push_back(static_cast<float>(byte - 128) / 64);
        }
        y.push_back(static_cast<std::int32_t>(labels[static_cast<std::size_t>(s)]));
        ids.push_back(s);
      }
      loss += model_.train(1, step, ids, x.data(), y.data(), part_.floats()).loss;
      logits_.insert(logits_.end(), model_.outputs(), model_.outputs() + size * model_.outputs_per_sample());
      for (std::size_t i = 0; i < floats; ++i) gradients[i] += part_.floats()[i];
      first += size;
    }
    double squares = 0;
    for (float& g : gradients) {
      g /= static_cast<float>(batch_);
      squares += double{g} * double{g};
    }
    first_gradients_ = step == 0 ? canonical(gradients_) : first_gradients_;
    if (job_.train.clip_norm) {
      for (float& g : gradients) g *= clip_factor(std::sqrt(squares), *job_.train.clip_norm);
    }
    apply_update(rule_of(job_.train.optimizer, step, base_lr(job_.train.optimizer)), {parameters_.floats(), floats},
                 gradients, {state_[0].floats(), floats}, {state_[1].floats(), floats});
    return loss / static_cast<double>(batch_);
  }

  using Tensors = std::map<std::string, std::vector<float>>;
  const std::vector<float>& logits() const { return logits_; }
  const Tensors& first_gradients() const { return first_gradients_; }
  Tensors weights() const { return canonical(parameters_); }
  Model& model() { return model_; }

 private:
  Tensors canonical(const Buffer& flat) const {
    Tensors all;
    for (const Parameter& p : model_.parameters().all()) all[p.name] = model_.parameters().canonical(p, flat.floats());
    return all;
  }

  const SafetensorsFile& data_;
  JobSpec job_;
  std::vector<std::int64_t> cut_;
  std::unique_ptr<Kernels> kernels_;
  Model model_;
  std::int64_t batch_ = 0;
  Buffer parameters_, gradients_, part_, state_[2];
  std::vector<float> logits_;
  Tensors first_gradients_;
};

/// Adam divides a gradient by its own size, so where gradient and (coupled) weight decay nearly cancel, their rounding
/// errors grow with it: one weight in a thousand may be further away than the rest.
void check_weights(const OptimizerSpec& optimizer, std::span<const float> actual, std::span<const float> expected) {
  const auto* adam = std::get_if<AdamSpec>(&optimizer);
  if (adam == nullptr || adam->weight_decay == 0 || adam->decoupled_weight_decay) {
    CHECK(difference(actual, expected) < kTolerance);
    return;
  }
  CHECK(difference(actual, expected) < 1e-3);
  const float largest = std::abs(
      *std::max_element(expected.begin(), expected.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
  std::size_t far = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    far += std::abs(actual[i] - expected[i]) > kTolerance * double{largest};
  CHECK(far <= 1 + expected.size() / 1000);
}

/// `data` has inputs and starting values, `golden` what came of `train`.
void compare(const SafetensorsFile& data, const SafetensorsFile& golden) {
  for (const std::vector<std::int64_t>& cut : {std::vector<std::int64_t>{24}, {8, 8, 8}, {10, 7, 7}}) {
    CAPTURE(cut.size());
    std::string train = golden.metadata.at("train");
    train.insert(train.size() - 1, ", \"steps\": 10, \"global_batch_size\": 24");
    const JobSpec job = job_of(data.metadata.at("model"), train);
    Training training(data, job, cut);
    const auto losses = golden.floats("losses");
    REQUIRE(losses.size() == 10);
    for (std::size_t step = 0; step < losses.size(); ++step) {
      CAPTURE(step);
      const double loss = training.step(static_cast<std::int64_t>(step));
      CHECK(std::abs(loss - double{losses[step]}) < kTolerance * double{losses[step]});
      if (step == 0 && golden.contains("logits"))
        CHECK(difference(training.logits(), golden.floats("logits")) < kTolerance);
    }
    for (const auto& [name, gradient] : training.first_gradients()) {
      CAPTURE(name);
      if (golden.contains("logits")) CHECK(difference(gradient, golden.floats("grad." + name)) < kTolerance);
    }
    const auto weights = training.weights();
    CHECK(weights.size() == training.model().parameters().all().size());
    for (const auto& [name, values] : weights) {
      CAPTURE(name);
      check_weights(job.train.optimizer, values, golden.floats("final." + name));
    }
  }
}

}  // namespace

TEST_CASE("ten steps of a model are PyTorch's under every optimizer setting") {
  int compared = 0;
  for (const auto& path : golden_files("models")) {
    CAPTURE(path.filename().string());
    const SafetensorsFile golden = read_safetensors(path);
    if (golden.contains("inputs")) {
      compare(golden, golden);
    } else {
      compare(read_safetensors(golden_folder() / "models" / "mlp.safetensors"), golden);
    }
    ++compared;
  }
  CHECK(compared == 8);
}
