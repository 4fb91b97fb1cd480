// Purpose: machines with GPUs, on the fake of CUDA. Thread safety: none.
#pragma once

#include <doctest/doctest.h>

#include <memory>

#include "data/dataset.h"
#include "support/fake_cuda/fake_cuda.h"

namespace dptrain::test {

/// A machine with so many GPUs while this lives, and nothing left of it afterwards.
struct Gpus {
  explicit Gpus(int count) { fake_cuda::set_devices(count); }
  ~Gpus() { CHECK(fake_cuda::live_objects() == 0); }
};

/// The same samples as another dataset's, but as floats alone, which do not lie on a GPU.
struct Streamed : Dataset {
  explicit Streamed(std::unique_ptr<const Dataset> from) : dataset(std::move(from)) {}
  std::int64_t size() const override { return dataset->size(); }
  const Shape& shape() const override { return dataset->shape(); }
  std::int64_t classes() const override { return dataset->classes(); }
  void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const override {
    dataset->gather(ids, out, labels);
  }
  std::unique_ptr<const Dataset> dataset;
};

}  // namespace dptrain::test
