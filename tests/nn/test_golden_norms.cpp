// Models with norms, residual blocks and label smoothing against PyTorch: twenty losses, the weights and running
// statistics behind them, and an evaluation with those; with the batch in one piece, cut into micro-batches, and cut
// with norms over the whole step, which are to be those of the batch in one piece.
#include <doctest/doctest.h>

#include "kernels/cpu/apply_update.h"
#include "nn/model.h"
#include "optim/optimizer.h"
#include "support/compare.h"
#include "support/golden.h"
#include "support/one_thread.h"
#include "support/step_in_pieces.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-4;  // relative to the tensor's largest value, see difference()

std::vector<std::int64_t> numbers(const std::string& list) {
  std::vector<std::int64_t> all;
  std::string digits;
  for (const char c : list) {
    if ('0' <= c && c <= '9') {
      digits += c;
    } else if (!digits.empty()) {
      all.push_back(std::stoll(digits));
      digits.clear();
    }
  }
  return all;
}

/// Samples [first, first + count) of a file.
struct Samples {
  std::vector<float> x;
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> ids;

  Samples(const SafetensorsFile& data, std::int64_t features, std::int64_t first, std::int64_t count) {
    const auto bytes = data.values<std::uint8_t>("inputs").subspan(static_cast<std::size_t>(first * features),
                                                                   static_cast<std::size_t>(count * features));
    for (const int byte : bytes) x.push_back(static_cast<float>(byte - 128) / 64);
    for (std::int64_t s = first; s < first + count; ++s) {
      labels.push_back(static_cast<std::int32_t>(data.values<std::int64_t>("labels")[static_cast<std::size_t>(s)]));
      ids.push_back(s);
    }
  }
};

/// All batch norms are over the whole step.
void synchronise(std::vector<LayerSpec>& layers) {
  for (LayerSpec& layer : layers) {
    if (auto* norm = std::get_if<NormSpec>(&layer.op)) norm->sync = norm->kind == NormKind::batch;
    if (auto* residual = std::get_if<ResidualSpec>(&layer.op)) {
      synchronise(residual->layers);
      synchronise(residual->shortcut_layers);
    }
  }
}

void compare(const SafetensorsFile& data, const SafetensorsFile& golden, const std::vector<std::int64_t>& cut,
             bool sync = false) {
  std::string train = golden.metadata.at("train");
  train.insert(train.size() - 1, ", \"steps\": 20, \"global_batch_size\": 24");
  JobSpec job = job_of(golden.metadata.at("model"), train);
  if (sync) synchronise(job.model.layers);
  const std::int64_t features = job.model.input.elements();
  StepInPieces pieces(job.model, static_cast<int>(cut.size()),
                      cut.size() == 1 ? std::vector<std::int64_t>{24} : std::vector<std::int64_t>{10, 7, 24});
  Model& model = pieces.model();
  CHECK((model.pieces() > 1) == sync);
  const ParameterTable& table = model.parameters();
  const auto floats = static_cast<std::size_t>(table.floats());
  const Buffer values = Buffer::host_floats(table.floats());
  for (const Parameter& p : table.all()) table.set_canonical(p, data.floats("init." + p.name).data(), values.floats());
  pieces.bind(values.floats());
  const OptimizerSpec& optimizer = job.train.optimizer;
  std::vector<float> state(floats);
  const UpdateRanges ranges = update_ranges(table);

  const auto losses = golden.floats("losses");
  REQUIRE(losses.size() == 20);
  for (std::int64_t step = 0; step < 20; ++step) {
    CAPTURE(step);
    std::vector<float> gradients;
    std::vector<StepInPieces::MicroBatch> parts;
    std::int64_t first = step * 24;
    for (const std::int64_t count : cut) {
      const Samples samples(data, features, first, count);
      parts.push_back({samples.ids, samples.x, samples.labels});
      first += count;
    }
    const double loss = pieces.train(1, step, parts, gradients);
    for (float& g : gradients) g /= 24;
    CHECK(std::abs(loss / 24 - double{losses[static_cast<std::size_t>(step)]}) <
          kTolerance * double{losses[static_cast<std::size_t>(step)]});
    apply_update(rule_of(optimizer, step, base_lr(job.train.optimizer)), ranges, 0, {values.floats(), floats},
                 gradients, state, {});
  }
  std::size_t named = 0;
  for (const Parameter& p : table.all()) {
    CAPTURE(p.name);
    CHECK(difference(table.canonical(p, values.floats()), golden.floats("final." + p.name)) < kTolerance);
    ++named;
  }
  for (const auto& [name, tensor] : golden.tensors) named -= name.starts_with("final.");
  CHECK(named == 0);
  const Samples samples(data, features, 0, 24);
  model.evaluate(20, samples.ids, samples.x.data(), samples.labels.data());
  CHECK(difference({model.outputs(), 240}, golden.floats("evaluated")) < kTolerance);
}

}  // namespace

TEST_CASE("twenty steps of models with norms and residual blocks are PyTorch's") {
  int compared = 0;
  for (const std::string name : {"resnet", "norms"}) {
    const auto file = [](const std::string& stem) {
      return read_safetensors(golden_folder() / "norm_models" / (stem + ".safetensors"));
    };
    const SafetensorsFile data = file(name);
    for (const char* suffix : {"", "_cut"}) {
      CAPTURE(name);
      CAPTURE(suffix);
      const SafetensorsFile golden = file(name + suffix);
      compare(data, golden, numbers(golden.metadata.at("cut")));
      ++compared;
    }
    CAPTURE("sync");
    compare(data, data, numbers(file(name + "_cut").metadata.at("cut")), /*sync=*/true);
  }
  CHECK(compared == 4);
}
