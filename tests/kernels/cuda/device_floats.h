// Floats on a GPU, or on the fake of one, and operations on them.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "device/cuda/runtime.h"
#include "kernels/cuda/operations.h"

namespace dptrain::testing {

using Floats = std::vector<float>;

inline Floats random_floats(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  Floats values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 700.0f;
  return values;
}

/// A buffer of the device, at a distance of `offset` floats from its start, as ranges of a flat buffer are.
class DeviceFloats {
 public:
  explicit DeviceFloats(std::int64_t count, std::int64_t offset = 0)
      : buffer_(cuda::device_buffer(static_cast<std::size_t>(count + offset) * sizeof(float))),
        count_(count),
        offset_(offset) {}
  explicit DeviceFloats(std::span<const float> values, std::int64_t offset = 0)
      : DeviceFloats(static_cast<std::int64_t>(values.size()), offset) {
    cuda::check(cudaMemcpy(data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
                "copying to the device");
    cuda::check(cudaDeviceSynchronize(), "waiting for a copy to the device");
  }
  float* data() const { return buffer_.floats() + offset_; }
  /// After waiting for the stream.
  Floats read(const cuda::Stream& stream) const {
    stream.synchronize();
    Floats values(static_cast<std::size_t>(count_));
    cuda::check(cudaMemcpy(values.data(), data(), values.size() * sizeof(float), cudaMemcpyDeviceToHost),
                "copying to the host");
    return values;
  }

 private:
  Buffer buffer_;
  std::int64_t count_, offset_;
};

struct Gpu {
  explicit Gpu(bool tf32 = false, bool reproducible = true) : context(stream.get(), tf32, reproducible) {}
  cuda::Stream stream;
  cuda::Context context;
};

/// What an affine operation computed from these inputs.
struct AffineRun {
  Floats y, weight_gradient, bias_gradient, dx;
};

/// Runs slot `slot` of `operation` once, forward and backward. `weight` is canonical, and so is the gradient that is
/// returned.
inline AffineRun run_affine(Gpu& gpu, AffineOperation& operation, Slot slot, std::int64_t batch, const Floats& x,
                            const Floats& weight, const Floats& bias, const Floats& dy, bool input_gradient = true) {
  Floats stored(static_cast<std::size_t>(operation.weight_floats()));
  operation.pack(weight.data(), stored.data());
  const auto outs = static_cast<std::int64_t>(bias.size());
  const DeviceFloats device_x(x), device_dy(dy), device_weight(stored, 16), device_bias(bias, 16);
  const DeviceFloats y(batch * operation.output().size(), 16), weight_gradient(operation.weight_floats(), 16);
  const DeviceFloats bias_gradient(outs, 16), dx(static_cast<std::int64_t>(x.size()), 16);
  const float* given_bias = outs > 0 ? device_bias.data() : nullptr;
  operation.forward(slot, device_x.data(), device_weight.data(), given_bias, y.data());
  operation.backward_weights(slot, device_x.data(), device_dy.data(), weight_gradient.data(),
                             outs > 0 ? bias_gradient.data() : nullptr);
  if (input_gradient) operation.backward_data(slot, device_dy.data(), device_weight.data(), 1, dx.data());
  AffineRun run;
  run.y = y.read(gpu.stream);
  const Floats gradient = weight_gradient.read(gpu.stream);
  run.weight_gradient.resize(weight.size());
  operation.unpack(gradient.data(), run.weight_gradient.data());
  run.bias_gradient = bias_gradient.read(gpu.stream);
  run.dx = dx.read(gpu.stream);
  return run;
}

}  // namespace dptrain::testing
