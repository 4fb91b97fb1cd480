// After the first training step and the first evaluation a model allocates nothing of its own. oneDNN's execute() makes
// a few small allocations for each call and frees them again, so what counts is: nothing of 4 KiB or more, and no
// growth.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/one_thread.h"

namespace {

constexpr std::size_t kLarge = 4096;
std::atomic<std::int64_t> live{0}, large{0};

// The size stands in front of the block, in as many bytes as its alignment.
void* allocate(std::size_t bytes, std::size_t alignment) {
  alignment = std::max(alignment, alignof(std::max_align_t));
  const std::size_t rounded = (bytes + 2 * alignment - 1) / alignment * alignment;
  auto* block = static_cast<char*>(std::aligned_alloc(alignment, rounded));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(block) = bytes;
  live += static_cast<std::int64_t>(bytes);
  large += bytes >= kLarge;
  return block + alignment;
}

void release(void* pointer, std::size_t alignment) {
  if (pointer == nullptr) return;
  alignment = std::max(alignment, alignof(std::max_align_t));
  char* block = static_cast<char*>(pointer) - alignment;
  live -= static_cast<std::int64_t>(*reinterpret_cast<std::size_t*>(block));
  std::free(block);
}

}  // namespace

// All forms, since under AddressSanitizer those that are not replaced do not call these.
using Alignment = std::align_val_t;
void* operator new(std::size_t bytes) {
  return allocate(bytes, 1);
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes, 1);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1);
}
void* operator new(std::size_t bytes, Alignment a) {
  return allocate(bytes, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t bytes, Alignment a) {
  return allocate(bytes, static_cast<std::size_t>(a));
}
void operator delete(void* pointer) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, std::size_t) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer, std::size_t) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, const std::nothrow_t&) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer, const std::nothrow_t&) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete[](void* pointer, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete(void* pointer, std::size_t, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete[](void* pointer, std::size_t, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}

using namespace dptrain;

TEST_CASE("the counters count") {
  const std::int64_t before = live, before_large = large;
  auto* block = new char[kLarge];
  *const_cast<volatile char*>(block) = 1;  // or the pair could be optimised away
  CHECK(live - before == static_cast<std::int64_t>(kLarge));
  CHECK(large - before_large == 1);
  delete[] block;
  CHECK(live == before);
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
  const std::int64_t live_before = live, large_before = large;
  for (std::int64_t step = 1; step < 20; ++step) both(step);
  const std::int64_t grown = live - live_before, large_ones = large - large_before;
  CHECK(grown == 0);
  CHECK(large_ones == 0);
}
