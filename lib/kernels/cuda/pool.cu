#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pool.h"

namespace dptrain::cuda {
namespace {

struct Span {
  std::int64_t first, last;  // half open
};

/// The part inside the image of window `out` along one axis.
DPTRAIN_HD inline Span window(std::int64_t out, std::int64_t stride, std::int64_t padding, std::int64_t kernel,
                              std::int64_t extent) {
  const std::int64_t first = out * stride - padding, last = first + kernel;
  return {first < 0 ? 0 : first, last < extent ? last : extent};
}

/// The windows that hold place `in` of the image along one axis.
DPTRAIN_HD inline Span windows_of(std::int64_t in, std::int64_t stride, std::int64_t padding, std::int64_t kernel,
                                  std::int64_t outputs) {
  const std::int64_t first = in + padding < kernel ? 0 : (in + padding - kernel) / stride + 1;
  const std::int64_t last = (in + padding) / stride + 1;
  return {first, last < outputs ? last : outputs};
}

struct Place {
  std::int64_t outer, row, column, inner;
};

DPTRAIN_HD inline Place place_of(std::int64_t i, std::int64_t height, std::int64_t width, std::int64_t inner) {
  const std::int64_t pixel = i / inner;
  return {pixel / (height * width), pixel / width % height, pixel % width, i % inner};
}

DPTRAIN_HD inline Span rows_of(const PoolShape& s, std::int64_t out_row) {
  return window(out_row, s.stride_height, s.padding_height, s.kernel_height, s.height);
}
DPTRAIN_HD inline Span columns_of(const PoolShape& s, std::int64_t out_column) {
  return window(out_column, s.stride_width, s.padding_width, s.kernel_width, s.width);
}

template <class Element>
struct MaxForward {
  const Element* x;
  Element* y;
  std::int32_t* chosen;
  PoolShape s;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place out = place_of(i, s.out_height, s.out_width, s.inner);
    const Span rows = rows_of(s, out.row), columns = columns_of(s, out.column);
    const Element* image = x + out.outer * s.height * s.width * s.inner + out.inner;
    std::int64_t best = rows.first * s.width + columns.first;
    float largest = wide(image[best * s.inner]);
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      for (std::int64_t column = columns.first; column < columns.last; ++column) {
        const std::int64_t pixel = row * s.width + column;
        const float value = wide(image[pixel * s.inner]);
        if (value > largest || value != value) {
          largest = value;
          best = pixel;
        }
      }
    }
    store(y[i], largest);
    chosen[i] = static_cast<std::int32_t>(best);
  }
};

template <class Element>
struct AverageForward {
  const Element* x;
  Element* y;
  PoolShape s;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place out = place_of(i, s.out_height, s.out_width, s.inner);
    const Span rows = rows_of(s, out.row), columns = columns_of(s, out.column);
    const Element* image = x + out.outer * s.height * s.width * s.inner + out.inner;
    float sum = 0;
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      for (std::int64_t column = columns.first; column < columns.last; ++column)
        sum += wide(image[(row * s.width + column) * s.inner]);
    }
    store(y[i], sum / static_cast<float>(s.kernel_height * s.kernel_width));
  }
};

template <class Element>
struct Backward {
  const Element* dy;
  const std::int32_t* chosen;  // null: average
  Element* dx;
  PoolShape s;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place in = place_of(i, s.height, s.width, s.inner);
    const Span rows = windows_of(in.row, s.stride_height, s.padding_height, s.kernel_height, s.out_height);
    const Span columns = windows_of(in.column, s.stride_width, s.padding_width, s.kernel_width, s.out_width);
    const std::int64_t first = in.outer * s.out_height * s.out_width * s.inner + in.inner;
    const auto pixel = static_cast<std::int32_t>(in.row * s.width + in.column);
    float sum = 0;
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      for (std::int64_t column = columns.first; column < columns.last; ++column) {
        const std::int64_t out = first + (row * s.out_width + column) * s.inner;
        if (chosen == nullptr || chosen[out] == pixel) sum += wide(dy[out]);
      }
    }
    store(dx[i], chosen == nullptr ? sum / static_cast<float>(s.kernel_height * s.kernel_width) : sum);
  }
};

void backward(const Context& context, const PoolShape& shape, const void* dy, const std::int32_t* chosen, void* dx) {
  with_element(shape.type, [&]<class Element>(Element) {
    for_each(shape.inputs(), context.stream,
             Backward<Element>{elements<Element>(dy), chosen, elements<Element>(dx), shape});
  });
}

}  // namespace

void max_pool(const Context& context, const PoolShape& shape, const void* x, void* y, std::int32_t* chosen) {
  with_element(shape.type, [&]<class Element>(Element) {
    for_each(shape.outputs(), context.stream,
             MaxForward<Element>{elements<Element>(x), elements<Element>(y), chosen, shape});
  });
}

void max_pool_backward(const Context& context, const PoolShape& shape, const void* dy, const std::int32_t* chosen,
                       void* dx) {
  backward(context, shape, dy, chosen, dx);
}

void average_pool(const Context& context, const PoolShape& shape, const void* x, void* y) {
  with_element(shape.type, [&]<class Element>(Element) {
    for_each(shape.outputs(), context.stream,
             AverageForward<Element>{elements<Element>(x), elements<Element>(y), shape});
  });
}

void average_pool_backward(const Context& context, const PoolShape& shape, const void* dy, void* dx) {
  backward(context, shape, dy, nullptr, dx);
}

}  // namespace dptrain::cuda
