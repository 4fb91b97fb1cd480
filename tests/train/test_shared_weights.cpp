// Replicas share one copy of the weights, so a pass must not write to it, not even zeros into its padding. Here the
// weights lie in memory that can only be read: a write ends the test.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstring>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"

namespace dptrain {

TEST_CASE("training and evaluation only read the weights") {
  // 5 and 17 channels: layouts with padding; two convolutions: backward by data reads a copy in another layout.
  const ModelSpec spec = read_job_text(R"(name: padded
dataset: {name: digits}
model:
  input: [3, 8, 8]
  layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {conv2d: {out_channels: 17, kernel_size: 3}}, relu, flatten, {linear: 3}]
train: {epochs: 2, global_batch_size: 16, optimizer: {name: sgd, lr: 0.1}}
)",
                                       "padded.yaml")
                             .model;
  const auto kernels = make_cpu_kernels();
  Model model(spec, *kernels, 6);
  const std::int64_t batches[] = {6, 5};
  model.prepare(batches);

  const ParameterTable& table = model.parameters();
  const std::size_t bytes = static_cast<std::size_t>(table.floats()) * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  table.initialise(1, static_cast<float*>(memory));
  const std::string hash = table.hash(static_cast<float*>(memory));
  REQUIRE(mprotect(memory, bytes, PROT_READ) == 0);
  model.bind(static_cast<const float*>(memory));

  const test::MemoryDataset data(30, spec.input, 3, 1);
  std::vector<float> x(static_cast<std::size_t>(6 * spec.input.elements()));
  std::vector<std::int32_t> labels(6);
  const Buffer gradients = Buffer::host_floats(table.floats());
  std::int64_t step = 0;
  for (const std::int64_t batch : {6, 5, 6}) {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(batch));
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
    data.gather(ids, x.data(), labels.data());
    CHECK(model.train(1, step++, ids, x.data(), labels.data(), gradients.floats()).loss > 0);
    CHECK(model.evaluate(step, ids, x.data(), labels.data()).loss > 0);
  }
  CHECK(table.hash(static_cast<const float*>(memory)) == hash);
  munmap(memory, bytes);
}

}  // namespace dptrain
