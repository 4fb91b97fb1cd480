// A training loop of one's own over the library: generated digits, one hidden layer, one thread; no job file, no
// replicas. Datasets are found by name through their descriptors: DPTRAIN_DATASETS=PREFIX/share/dptrain/datasets
// own_loop
#include <fmt/core.h>

#include "data/open/open.h"
#include "data/sampler.h"
#include "kernels/cpu/apply_update.h"
#include "nn/model.h"
#include "optim/optimizer.h"

using namespace dptrain;

int main() {
  constexpr std::int64_t kBatch = 50, kSteps = 400, kSeed = 1;
  const DatasetPair data =
      open_dataset({.name = "digits", .train_samples = 4000, .test_samples = kBatch}, {.offline = true});
  const ModelSpec spec{
      .input = data.train->shape(),
      .layers = {
          {FlattenSpec{}}, {LinearSpec{.out_features = 128}}, {ActivationSpec{}}, {LinearSpec{.out_features = 10}}}};
  const auto kernels = make_cpu_kernels();
  Model model(spec, *kernels, kBatch);
  model.prepare(std::vector{kBatch});  // every batch size that will come
  const std::int64_t floats = model.parameters().floats();
  const Buffer weights = Buffer::host_floats(floats), gradients = Buffer::host_floats(floats),
               momentum = Buffer::host_floats(floats);
  model.parameters().initialise(kSeed, weights.floats());
  model.bind(weights.floats());
  const auto span = [&](const Buffer& buffer) { return std::span(buffer.floats(), static_cast<std::size_t>(floats)); };
  const OptimizerSpec optimizer = SgdSpec{.lr = 0.05, .momentum = 0.9};
  const Sampler sampler(data.train->size(), kSeed, /*shuffle=*/true);
  std::vector<std::int64_t> ids(kBatch);
  std::vector<std::int32_t> labels(kBatch);
  std::vector<float> x(static_cast<std::size_t>(kBatch * data.train->shape().elements()));
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const std::int64_t first = step * kBatch;
    sampler.order(first / data.train->size(), first % data.train->size(), ids);
    data.train->gather(ids, x.data(), labels.data());
    const LossSum sum = model.train(kSeed, step, ids, x.data(), labels.data(), gradients.floats());
    for (float& gradient : span(gradients)) gradient /= kBatch;  // the model gives sums over the batch
    apply_update(rule_of(optimizer, step, 0.05), span(weights), span(gradients), span(momentum), {});
    if (step % 100 == 99)
      fmt::print("step {}  loss {:.4f}  {} of {} right\n", step + 1, sum.loss / kBatch, sum.correct, kBatch);
  }
}
