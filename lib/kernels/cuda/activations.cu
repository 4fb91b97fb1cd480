// Activations, forward and backward, and the bias that goes with them where a library's product does not add it.
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"

namespace dptrain::cuda {
namespace {

// Each has its value, and the gradient at `from`: the input for Gelu, Silu and a slope below zero, otherwise the
// output.
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

template <class Element, class Function>
struct Forward {
  const Element* x;
  Element* y;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(y[i], function.value(wide(x[i]))); }
};

template <class Element, class Function>
struct Backward {
  const Element *from, *dy;
  Element* dx;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(dx[i], function.gradient(wide(from[i]), wide(dy[i]))); }
};

template <class Element, class Function>
struct AddBias {
  const float* bias;
  Element* y;
  std::int64_t columns;
  Function function;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(y[i], function.value(wide(y[i]) + bias[i % columns])); }
};

}  // namespace

void activate(const Context& context, const ActivationSpec& spec, ElementType type, std::int64_t count, const void* x,
              void* y) {
  with_element(type, [&]<class Element>(Element) {
    with_functor(spec, [&](auto function) {
      for_each(count, context.stream,
               Forward<Element, decltype(function)>{elements<Element>(x), elements<Element>(y), function});
    });
  });
}

void activate_backward(const Context& context, const ActivationSpec& spec, ElementType type, std::int64_t count,
                       const void* from, const void* dy, void* dx) {
  with_element(type, [&]<class Element>(Element) {
    with_functor(spec, [&](auto function) {
      for_each(count, context.stream,
               Backward<Element, decltype(function)>{elements<Element>(from), elements<Element>(dy),
                                                     elements<Element>(dx), function});
    });
  });
}

void add_bias_and_activate(const Context& context, const float* bias, const ActivationSpec* activation,
                           std::int64_t rows, std::int64_t columns, ElementType type, void* y) {
  const std::int64_t count = rows * columns;
  if (bias == nullptr) {
    if (activation != nullptr) activate(context, *activation, type, count, y, y);
    return;
  }
  with_element(type, [&]<class Element>(Element) {
    const auto run = [&](auto function) {
      for_each(count, context.stream,
               AddBias<Element, decltype(function)>{bias, elements<Element>(y), columns, function});
    };
    if (activation == nullptr) return run(Identity{});
    with_functor(*activation, run);
  });
}

}  // namespace dptrain::cuda
