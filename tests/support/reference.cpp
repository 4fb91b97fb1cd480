#include "support/reference.h"

#include <cmath>
#include <numbers>

namespace dptrain::testing::reference {

namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

std::size_t at(const ImageShape& s, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  return index(((n * s.channels + c) * s.height + h) * s.width + w);
}

bool inside(const ImageShape& s, std::int64_t h, std::int64_t w) {
  return h >= 0 && h < s.height && w >= 0 && w < s.width;
}

template <class Visit>
void for_each_pixel(const ImageShape& s, const Visit& visit) {
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t c = 0; c < s.channels; ++c) {
      for (std::int64_t h = 0; h < s.height; ++h) {
        for (std::int64_t w = 0; w < s.width; ++w) visit(n, c, h, w);
      }
    }
  }
}

/// visit(output, input, weight, output channel) for each product that a convolution adds up.
template <class Visit>
void for_each_product(const ImageShape& in, const Conv2dSpec& spec, const Visit& visit) {
  const ImageShape out = convolved(in, spec);
  const std::int64_t inputs = in.channels / spec.groups, outputs = spec.out_channels / spec.groups;
  for_each_pixel(out, [&](std::int64_t n, std::int64_t o, std::int64_t h, std::int64_t w) {
    for (std::int64_t i = 0; i < inputs; ++i) {
      for (std::int64_t kh = 0; kh < spec.kernel_height; ++kh) {
        for (std::int64_t kw = 0; kw < spec.kernel_width; ++kw) {
          const std::int64_t y = h * spec.stride_height - spec.padding_height + kh;
          const std::int64_t x = w * spec.stride_width - spec.padding_width + kw;
          if (!inside(in, y, x)) continue;
          visit(at(out, n, o, h, w), at(in, n, o / outputs * inputs + i, y, x),
                index(((o * inputs + i) * spec.kernel_height + kh) * spec.kernel_width + kw), index(o));
        }
      }
    }
  });
}

/// visit(input) for each pixel of a window that is not padding.
template <class Visit>
void for_each_in_window(const ImageShape& in, const Pool2dSpec& spec, std::int64_t n, std::int64_t c, std::int64_t h,
                        std::int64_t w, const Visit& visit) {
  for (std::int64_t kh = 0; kh < spec.kernel_height; ++kh) {
    for (std::int64_t kw = 0; kw < spec.kernel_width; ++kw) {
      const std::int64_t y = h * spec.stride_height - spec.padding_height + kh;
      const std::int64_t x = w * spec.stride_width - spec.padding_width + kw;
      if (inside(in, y, x)) visit(at(in, n, c, y, x));
    }
  }
}

double area(const Pool2dSpec& spec) {
  return static_cast<double>(spec.kernel_height * spec.kernel_width);
}

std::int64_t positions(std::int64_t extent, std::int64_t padding, std::int64_t kernel, std::int64_t stride) {
  return (extent + 2 * padding - kernel) / stride + 1;
}
}  // namespace

Values linear(const LinearShape& s, const Values& x, const Values& weight, const Values& bias) {
  Values y(index(s.batch * s.out));
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t o = 0; o < s.out; ++o) {
      double sum = bias.empty() ? 0 : bias[index(o)];
      for (std::int64_t i = 0; i < s.in; ++i) sum += x[index(n * s.in + i)] * weight[index(o * s.in + i)];
      y[index(n * s.out + o)] = sum;
    }
  }
  return y;
}

AffineGradients linear_backward(const LinearShape& s, const Values& x, const Values& weight, const Values& dy) {
  AffineGradients g{Values(x.size()), Values(weight.size()), Values(index(s.out))};
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t o = 0; o < s.out; ++o) {
      const double d = dy[index(n * s.out + o)];
      g.bias[index(o)] += d;
      for (std::int64_t i = 0; i < s.in; ++i) {
        g.x[index(n * s.in + i)] += d * weight[index(o * s.in + i)];
        g.weight[index(o * s.in + i)] += d * x[index(n * s.in + i)];
      }
    }
  }
  return g;
}

ImageShape convolved(const ImageShape& in, const Conv2dSpec& s) {
  return {in.batch, s.out_channels, positions(in.height, s.padding_height, s.kernel_height, s.stride_height),
          positions(in.width, s.padding_width, s.kernel_width, s.stride_width)};
}

Values convolution(const ImageShape& in, const Conv2dSpec& spec, const Values& x, const Values& weight,
                   const Values& bias) {
  const ImageShape out = convolved(in, spec);
  Values y(index(out.elements()));
  if (!bias.empty()) {
    for_each_pixel(out, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      y[at(out, n, c, h, w)] = bias[index(c)];
    });
  }
  for_each_product(in, spec,
                   [&](std::size_t o, std::size_t i, std::size_t k, std::size_t) { y[o] += x[i] * weight[k]; });
  return y;
}

AffineGradients convolution_backward(const ImageShape& in, const Conv2dSpec& spec, const Values& x,
                                     const Values& weight, const Values& dy) {
  const ImageShape out = convolved(in, spec);
  AffineGradients g{Values(x.size()), Values(weight.size()), Values(index(spec.out_channels))};
  for_each_pixel(out, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    g.bias[index(c)] += dy[at(out, n, c, h, w)];
  });
  for_each_product(in, spec, [&](std::size_t o, std::size_t i, std::size_t k, std::size_t) {
    g.x[i] += dy[o] * weight[k];
    g.weight[k] += dy[o] * x[i];
  });
  return g;
}

ImageShape pooled(const ImageShape& in, const Pool2dSpec& s) {
  return {in.batch, in.channels, positions(in.height, s.padding_height, s.kernel_height, s.stride_height),
          positions(in.width, s.padding_width, s.kernel_width, s.stride_width)};
}

Values pool(const ImageShape& in, const Pool2dSpec& spec, const Values& x) {
  const ImageShape out = pooled(in, spec);
  Values y(index(out.elements()));
  for_each_pixel(out, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    double most = -HUGE_VAL, sum = 0;
    for_each_in_window(in, spec, n, c, h, w, [&](std::size_t i) {
      most = std::max(most, x[i]);
      sum += x[i];
    });
    y[at(out, n, c, h, w)] = spec.kind == PoolKind::max ? most : sum / area(spec);
  });
  return y;
}

Values pool_backward(const ImageShape& in, const Pool2dSpec& spec, const Values& x, const Values& dy) {
  const ImageShape out = pooled(in, spec);
  Values dx(x.size());
  for_each_pixel(out, [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    const double d = dy[at(out, n, c, h, w)];
    double most = -HUGE_VAL;
    std::size_t best = 0;
    for_each_in_window(in, spec, n, c, h, w, [&](std::size_t i) {
      if (spec.kind == PoolKind::average) dx[i] += d / area(spec);
      if (x[i] > most) {
        most = x[i];
        best = i;
      }
    });
    if (spec.kind == PoolKind::max) dx[best] += d;
  });
  return dx;
}

Values activation(const ActivationSpec& spec, const Values& x) {
  Values y;
  for (const double v : x) {
    switch (spec.kind) {
      case ActivationKind::relu:
        y.push_back(v > 0 ? v : 0);
        break;
      case ActivationKind::leaky_relu:
        y.push_back(v > 0 ? v : v * spec.negative_slope);
        break;
      case ActivationKind::gelu:
        y.push_back(v * 0.5 * (1 + std::erf(v / std::numbers::sqrt2)));
        break;
      case ActivationKind::sigmoid:
        y.push_back(1 / (1 + std::exp(-v)));
        break;
      case ActivationKind::tanh:
        y.push_back(std::tanh(v));
        break;
      case ActivationKind::silu:
        y.push_back(v / (1 + std::exp(-v)));
        break;
    }
  }
  return y;
}

Values activation_backward(const ActivationSpec& spec, const Values& x, const Values& dy) {
  Values dx = activation(spec, x);  // y, at first
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], y = dx[i];
    double slope = 0;
    switch (spec.kind) {
      case ActivationKind::relu:
        slope = v > 0 ? 1 : 0;
        break;
      case ActivationKind::leaky_relu:
        slope = v > 0 ? 1 : spec.negative_slope;
        break;
      case ActivationKind::gelu:
        slope =
            0.5 * (1 + std::erf(v / std::numbers::sqrt2)) + v * std::exp(-v * v / 2) / std::sqrt(2 * std::numbers::pi);
        break;
      case ActivationKind::sigmoid:
        slope = y * (1 - y);
        break;
      case ActivationKind::tanh:
        slope = 1 - y * y;
        break;
      case ActivationKind::silu:
        slope = 1 / (1 + std::exp(-v)) * (1 + v - y);
        break;
    }
    dx[i] = dy[i] * slope;
  }
  return dx;
}

Values softmax(std::int64_t classes, std::int64_t inner, const Values& x) {
  Values y(x.size());
  for (std::int64_t first = 0; first < static_cast<std::int64_t>(x.size()); first += classes * inner) {
    for (std::int64_t k = first; k < first + inner; ++k) {
      double top = -HUGE_VAL, total = 0;
      for (std::int64_t c = 0; c < classes; ++c) top = std::max(top, x[index(k + c * inner)]);
      for (std::int64_t c = 0; c < classes; ++c) total += std::exp(x[index(k + c * inner)] - top);
      for (std::int64_t c = 0; c < classes; ++c)
        y[index(k + c * inner)] = std::exp(x[index(k + c * inner)] - top) / total;
    }
  }
  return y;
}

Values softmax_backward(std::int64_t classes, std::int64_t inner, const Values& x, const Values& dy) {
  const Values y = softmax(classes, inner, x);
  Values dx(x.size());
  for (std::int64_t first = 0; first < static_cast<std::int64_t>(x.size()); first += classes * inner) {
    for (std::int64_t k = first; k < first + inner; ++k) {
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sum += y[index(k + c * inner)] * dy[index(k + c * inner)];
      for (std::int64_t c = 0; c < classes; ++c) {
        const std::size_t i = index(k + c * inner);
        dx[i] = y[i] * (dy[i] - sum);
      }
    }
  }
  return dx;
}

Values dropout(std::span<const std::uint8_t> mask, double scale, const Values& x) {
  Values y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(mask[i] != 0 ? x[i] * scale : 0);
  return y;
}

}  // namespace dptrain::testing::reference
