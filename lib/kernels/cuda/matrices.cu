// Softmax, and changes of layout and type.
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"

namespace dptrain::cuda {
namespace {

/// One row of classes that lie `inner` apart.
struct SoftmaxRow {
  const float* x;
  float* y;
  std::int64_t classes, inner;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t first = i / inner * classes * inner + i % inner;
    float top = x[first];
    for (std::int64_t c = 1; c < classes; ++c) {
      const float value = x[first + c * inner];
      if (value > top) top = value;
    }
    float total = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const float share = std::exp(x[first + c * inner] - top);
      y[first + c * inner] = share;
      total += share;
    }
    const float scale = 1.0f / total;
    for (std::int64_t c = 0; c < classes; ++c) y[first + c * inner] *= scale;
  }
};

struct SoftmaxRowBackward {
  const float *y, *dy;
  float* dx;
  std::int64_t classes, inner;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t first = i / inner * classes * inner + i % inner;
    float sum = 0;
    for (std::int64_t c = 0; c < classes; ++c) sum += y[first + c * inner] * dy[first + c * inner];
    for (std::int64_t c = 0; c < classes; ++c)
      dx[first + c * inner] = y[first + c * inner] * (dy[first + c * inner] - sum);
  }
};

template <class From, class To>
struct Transpose {
  const From* from;
  To* to;
  std::int64_t rows, columns;
  DPTRAIN_HD void operator()(std::int64_t i) const {  // the place it writes
    const std::int64_t matrix = i / (rows * columns), column = i / rows % columns, row = i % rows;
    store(to[i], wide(from[(matrix * rows + row) * columns + column]));
  }
};

template <class From, class To>
struct Convert {
  const From* from;
  To* to;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(to[i], wide(from[i])); }
};

/// use(an element of the one, an element of the other).
template <class Use>
void with_elements(ElementType from, ElementType to, const Use& use) {
  with_element(from, [&](auto one) { with_element(to, [&](auto other) { use(one, other); }); });
}

}  // namespace

void softmax(const Context& context, std::int64_t outer, std::int64_t classes, std::int64_t inner, const float* x,
             float* y) {
  for_each(outer * inner, context.stream, SoftmaxRow{x, y, classes, inner});
}

void softmax_backward(const Context& context, std::int64_t outer, std::int64_t classes, std::int64_t inner,
                      const float* y, const float* dy, float* dx) {
  for_each(outer * inner, context.stream, SoftmaxRowBackward{y, dy, dx, classes, inner});
}

void transpose(const Context& context, std::int64_t batch, std::int64_t rows, std::int64_t columns,
               ElementType from_type, const void* from, ElementType to_type, void* to) {
  with_elements(from_type, to_type, [&]<class From, class To>(From, To) {
    for_each(batch * rows * columns, context.stream,
             Transpose<From, To>{elements<From>(from), elements<To>(to), rows, columns});
  });
}

void convert(const Context& context, std::int64_t count, ElementType from_type, const void* from, ElementType to_type,
             void* to) {
  with_elements(from_type, to_type, [&]<class From, class To>(From, To) {
    for_each(count, context.stream, Convert<From, To>{elements<From>(from), elements<To>(to)});
  });
}

}  // namespace dptrain::cuda
