// Activations, forward and backward, and the bias that goes with them where a library's product does not add it.
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"

namespace dptrain::cuda {
namespace {

// Each has its value, and the gradient at `from`: the input for Gelu, Silu and a slope below zero, otherwise the output.
struct Relu {
  DPTRAIN_HD float value(float x) const { return x < 0.0f ? 0.0f : x; }  // NaN stays NaN
  DPTRAIN_HD float gradient(float from, float dy) const { return from > 0.0f ? dy : 0.0f; }
};
struct LeakyRelu {
  float slope;
  DPTRAIN_HD float value(float x) const { return x > 0.0f ? x : x * slope; }
  DPTRAIN_HD float gradient(float from, float dy) const { return from > 0.0f ? dy : dy * slope; }
};
struct Gelu {
  DPTRAIN_HD static float below(float x) { return 0.5f * (1.0f + std::erf(x * 0.70710678f)); }
  DPTRAIN_HD float value(float x) const { return x * below(x); }
  DPTRAIN_HD float gradient(float from, float dy) const {
    const float density = 0.39894228f * std::exp(-0.5f * from * from);
    return dy * (below(from) + from * density);
  }
};
struct Sigmoid {
  DPTRAIN_HD float value(float x) const { return 1.0f / (1.0f + std::exp(-x)); }
  DPTRAIN_HD float gradient(float from, float dy) const { return dy * from * (1.0f - from); }
};
struct Tanh {
  DPTRAIN_HD float value(float x) const { return std::tanh(x); }
  DPTRAIN_HD float gradient(float from, float dy) const { return dy * (1.0f - from) * (1.0f + from); }
};
struct Silu {
  DPTRAIN_HD float value(float x) const { return x / (1.0f + std::exp(-x)); }
  DPTRAIN_HD float gradient(float from, float dy) const {
    const float share = 1.0f / (1.0f + std::exp(-from));
    return dy * share * (1.0f + from * (1.0f - share));
  }
};
struct Identity {
  DPTRAIN_HD float value(float x) const { return x; }
};

template <class Use>
void with_functor(const ActivationSpec& spec, const Use& use) {
  switch (spec.kind) {
    case ActivationKind::relu:
      return use(Relu{});
    case ActivationKind::leaky_relu:
      return use(LeakyRelu{static_cast<float>(spec.negative_slope)});
    case ActivationKind::gelu:
      return use(Gelu{});
    case ActivationKind::sigmoid:
      return use(Sigmoid{});
    case ActivationKind::tanh:
      return use(Tanh{});
    case ActivationKind::silu:
      return use(Silu{});
  }
}

template <class Function>
struct Forward {
  const float* x;
  float* y;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { y[i] = function.value(x[i]); }
};

template <class Function>
struct Backward {
  const float *from, *dy;
  float* dx;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { dx[i] = function.gradient(from[i], dy[i]); }
};

template <class Function>
struct AddBias {
  const float* bias;
  float* y;
  std::int64_t columns;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { y[i] = function.value(y[i] + bias[i % columns]); }
};

}  // namespace

void activate(const Context& context, const ActivationSpec& spec, std::int64_t count, const float* x, float* y) {
  with_functor(spec, [&](auto function) {
    for_each(count, context.stream, Forward<decltype(function)>{x, y, function});
  });
}

void activate_backward(const Context& context, const ActivationSpec& spec, std::int64_t count, const float* from,
                       const float* dy, float* dx) {
  with_functor(spec, [&](auto function) {
    for_each(count, context.stream, Backward<decltype(function)>{from, dy, dx, function});
  });
}

void add_bias_and_activate(const Context& context, const float* bias, const ActivationSpec* activation,
                           std::int64_t rows, std::int64_t columns, float* y) {
  const std::int64_t count = rows * columns;
  if (bias == nullptr) {
    if (activation != nullptr) activate(context, *activation, count, y, y);
    return;
  }
  const auto run = [&](auto function) {
    for_each(count, context.stream, AddBias<decltype(function)>{bias, y, columns, function});
  };
  if (activation == nullptr) return run(Identity{});
  with_functor(*activation, run);
}

}  // namespace dptrain::cuda
