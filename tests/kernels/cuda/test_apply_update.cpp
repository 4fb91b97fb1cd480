// The GPU's optimizer step against the CPU's, bit for bit, for every rule and for sizes around the launch's limits.
#include <doctest/doctest.h>

#include <vector>

#include "core/philox.h"
#include "kernels/cpu/apply_update.h"
#include "kernels/cuda/apply_update.h"
#include "kernels/cuda/check.h"

using namespace dptrain;

namespace {

bool gpu_is_there() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  MESSAGE("skipped: no GPU that CUDA can use");
  return false;
}

/// Floats on the device, filled from the host and read back.
class DeviceFloats {
 public:
  explicit DeviceFloats(const std::vector<float>& host) : count_(host.size()) {
    cuda::check(cudaMalloc(&data_, count_ * sizeof(float)), "cudaMalloc");
    cuda::check(cudaMemcpy(data_, host.data(), count_ * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceFloats() { cudaFree(data_); }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  float* data() const { return static_cast<float*>(data_); }
  std::vector<float> read() const {
    std::vector<float> host(count_);
    cuda::check(cudaMemcpy(host.data(), data_, count_ * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
  }

 private:
  void* data_ = nullptr;
  std::size_t count_;
};

std::vector<float> draw(std::uint64_t item, std::size_t count) {
  const RandomStream stream(1, RandomPurpose::test);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = stream.uniform(item, i) - 0.5f;
  return values;
}

}  // namespace

TEST_CASE("the same bits as on the CPU") {
  if (!gpu_is_there()) return;
  const UpdateRule rules[] = {
      SgdRule{.lr = 0.1f, .weight_decay = 5e-4f},
      MomentumRule{.lr = 0.1f, .weight_decay = 5e-4f, .buffer_decay = 0.9f, .lookahead = 1, .buffer_share = 0.9f},
      AdamRule{.step_size = 1e-3f,
               .coupled_decay = 1e-2f,
               .average_weight = 0.1f,
               .square_decay = 0.999f,
               .square_share = 1e-3f,
               .square_correction = 0.03f,
               .epsilon = 1e-8f}};
  for (const UpdateRule& rule : rules) {
    for (const std::size_t count : {std::size_t{1}, std::size_t{257}, std::size_t{1'200'003}}) {
      std::vector<float> parameters = draw(1, count), gradients = draw(2, count), state0 = draw(3, count),
                         state1 = draw(4, count);
      for (float& square : state1) square += 0.5f;  // a mean of squares is not negative
      const DeviceFloats p(parameters), g(gradients), s0(state0), s1(state1);
      cuda::apply_update(rule, count, p.data(), g.data(), s0.data(), s1.data(), nullptr);
      apply_update(rule, parameters, gradients, state0, state1);
      CHECK(p.read() == parameters);
      CHECK(s0.read() == state0);
      CHECK(s1.read() == state1);
    }
  }
}
