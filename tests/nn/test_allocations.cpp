// After the first training step and the first evaluation a model allocates nothing of its own. oneDNN's execute() makes
// a few small allocations for each call and frees them again, so what counts is: nothing of 4 KiB or more, and no
// growth.
#include <doctest/doctest.h>

#include <numeric>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/allocations.h"
#include "support/one_thread.h"

using namespace dptrain;
using test::allocated_bytes;
using test::kLargeAllocation;
using test::large_allocations;

TEST_CASE("the counters count") {
  const std::int64_t before = allocated_bytes, before_large = large_allocations;
  auto* block = new char[kLargeAllocation];
  *const_cast<volatile char*>(block) = 1;  // or the pair could be optimised away
  CHECK(allocated_bytes - before == static_cast<std::int64_t>(kLargeAllocation));
  CHECK(large_allocations - before_large == 1);
  delete[] block;
  CHECK(allocated_bytes == before);
}

TEST_CASE("nothing is allocated after step 0") {
  // Every kind of layer; 5 channels so that reorders and copies into other layouts take part.
  const ModelSpec spec =
      read_job_text(
          "dataset: {name: none}\n"
          "model: {input: [1, 28, 28], layers: [conv2d: {out_channels: 5, kernel_size: 3}, relu, max_pool2d: 2,"
          " conv2d: {out_channels: 16, kernel_size: 3, padding: 1}, sigmoid, avg_pool2d: 2, softmax, dropout: 0.5,"
          " batch_norm, residual: {layers: [conv2d: {out_channels: 20, kernel_size: 3, padding: 1, stride: 2}, "
          "group_norm: 4,"
          " relu, residual: [silu, batch_norm, relu]], shortcut: pad}, relu, residual: {layers: [conv2d: "
          "{out_channels: 8,"
          " kernel_size: 3, padding: 1}, layer_norm], shortcut: projection}, batch_norm, relu, flatten,"
          " linear: 64, gelu, dropout: 0.2, residual: [batch_norm], linear: 10], loss: {name: cross_entropy, "
          "label_smoothing: 0.1}}\n"
          "train: {steps: 1, global_batch_size: 64, optimizer: {name: sgd, lr: 0.1}}\n",
          "allocations.yaml")
          .model;
  const auto kernels = make_cpu_kernels();
  Model model(spec, *kernels, 64);
  model.prepare(std::vector<std::int64_t>{64, 17});
  Buffer parameters = Buffer::host_floats(model.parameters().floats()),
         gradients = Buffer::host_floats(model.parameters().floats());
  model.parameters().initialise(1, parameters.floats());
  model.bind(parameters.floats());
  std::vector<float> x(64 * 28 * 28, 0.25f);
  std::vector<std::int32_t> labels(64, 3);
  std::vector<std::int64_t> ids(64);
  std::iota(ids.begin(), ids.end(), 0);

  const auto both = [&](std::int64_t step) {
    for (const std::size_t batch : {std::size_t{64}, std::size_t{17}}) {
      const std::span<const std::int64_t> some(ids.data(), batch);
      model.train(1, step, some, x.data(), labels.data(), gradients.floats());
      model.evaluate(step, some, x.data(), labels.data());
    }
  };
  both(0);
  const std::int64_t live_before = allocated_bytes, large_before = large_allocations;
  for (std::int64_t step = 1; step < 20; ++step) both(step);
  const std::int64_t grown = allocated_bytes - live_before, large_ones = large_allocations - large_before;
  CHECK(grown == 0);
  CHECK(large_ones == 0);
}
