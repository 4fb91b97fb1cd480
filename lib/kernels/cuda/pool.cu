#include <algorithm>

#include "core/host_device.h"
#include "kernels/cuda/divisor.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/vectors.h"

namespace dptrain::cuda {
namespace {

/// A PoolShape in numbers of 32 bits, and what its places are divided by. Vectors of `across` lie side by side at a
/// pixel.
struct Geometry {
  int across, inner;
  int height, width, out_height, out_width;
  int kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;
  Divisor by_across, by_out_width, by_out_height, by_width, by_height, by_stride_height, by_stride_width;

  Geometry(const PoolShape& s, int vector)
      : across(static_cast<int>(s.inner / vector)),
        inner(static_cast<int>(s.inner)),
        height(static_cast<int>(s.height)),
        width(static_cast<int>(s.width)),
        out_height(static_cast<int>(s.out_height)),
        out_width(static_cast<int>(s.out_width)),
        kernel_height(static_cast<int>(s.kernel_height)),
        kernel_width(static_cast<int>(s.kernel_width)),
        stride_height(static_cast<int>(s.stride_height)),
        stride_width(static_cast<int>(s.stride_width)),
        padding_height(static_cast<int>(s.padding_height)),
        padding_width(static_cast<int>(s.padding_width)),
        by_across(across),
        by_out_width(out_width),
        by_out_height(out_height),
        by_width(width),
        by_height(height),
        by_stride_height(stride_height),
        by_stride_width(stride_width) {}
};

struct Place {
  int outer, row, column, first;  // first: of the vector's elements, within the pixel
};

/// Of output i, counted in vectors.
DPTRAIN_HD inline Place output_place(const Geometry& g, std::int64_t i, int vector) {
  auto left = static_cast<std::uint32_t>(i);
  std::uint32_t pixel = g.by_across.divide(left);
  std::uint32_t row = g.by_out_width.divide(pixel);
  const std::uint32_t outer = g.by_out_height.divide(row);
  return {static_cast<int>(outer), static_cast<int>(row), static_cast<int>(pixel), static_cast<int>(left) * vector};
}
DPTRAIN_HD inline Place input_place(const Geometry& g, std::int64_t i, int vector) {
  auto left = static_cast<std::uint32_t>(i);
  std::uint32_t pixel = g.by_across.divide(left);
  std::uint32_t row = g.by_width.divide(pixel);
  const std::uint32_t outer = g.by_height.divide(row);
  return {static_cast<int>(outer), static_cast<int>(row), static_cast<int>(pixel), static_cast<int>(left) * vector};
}

struct Span {
  int first, last;  // half open
};

/// The part inside the image of window `out` along one axis.
DPTRAIN_HD inline Span window(int out, int stride, int padding, int kernel, int extent) {
  const int first = out * stride - padding, last = first + kernel;
  return {first < 0 ? 0 : first, last < extent ? last : extent};
}
DPTRAIN_HD inline Span rows_of(const Geometry& g, int out_row) {
  return window(out_row, g.stride_height, g.padding_height, g.kernel_height, g.height);
}
DPTRAIN_HD inline Span columns_of(const Geometry& g, int out_column) {
  return window(out_column, g.stride_width, g.padding_width, g.kernel_width, g.width);
}

/// The windows that hold place `in` of the image along one axis.
DPTRAIN_HD inline Span windows_of(int in, const Divisor& by_stride, int padding, int kernel, int outputs) {
  const int at = in + padding;
  const int first = at < kernel ? 0 : static_cast<int>(by_stride.quotient(static_cast<std::uint32_t>(at - kernel))) + 1;
  const int last = static_cast<int>(by_stride.quotient(static_cast<std::uint32_t>(at))) + 1;
  return {first, last < outputs ? last : outputs};
}

template <class Element, int width>
struct MaxForward {
  const Element* x;
  Element* y;
  std::int32_t* chosen;
  Geometry g;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place out = output_place(g, i, width);
    const Span rows = rows_of(g, out.row), columns = columns_of(g, out.column);
    const Element* image = x + std::int64_t{out.outer} * g.height * g.width * g.inner + out.first;
    int best = rows.first * g.width + columns.first;
    Vector<Element, width> largest = load_vector<width>(image + best * g.inner);
    Vector<std::int32_t, width> found;
    for (int v = 0; v < width; ++v) found.of[v] = best;
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const int pixel = row * g.width + column;
        const Vector<Element, width> values = load_vector<width>(image + pixel * g.inner);
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) {
          const float value = wide(values.of[v]);
          if (value > wide(largest.of[v]) || value != value) {
            largest.of[v] = values.of[v];
            found.of[v] = pixel;
          }
        }
      }
    }
    store_vector(y + i * width, largest);
    store_vector(chosen + i * width, found);
  }
};

template <class Element, int width>
struct AverageForward {
  const Element* x;
  Element* y;
  Geometry g;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place out = output_place(g, i, width);
    const Span rows = rows_of(g, out.row), columns = columns_of(g, out.column);
    const Element* image = x + std::int64_t{out.outer} * g.height * g.width * g.inner + out.first;
    float sums[width] = {};
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const Vector<Element, width> values = load_vector<width>(image + (row * g.width + column) * g.inner);
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) sums[v] += wide(values.of[v]);
      }
    }
    const auto area = static_cast<float>(g.kernel_height * g.kernel_width);
    Vector<Element, width> result;
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) store(result.of[v], sums[v] / area);
    store_vector(y + i * width, result);
  }
};

/// Where windows lie apart: from each output to the part of the input that is nearer to its window than to others.
template <class Element, int width, bool max>
struct BackwardApart {
  const Element* dy;
  const std::int32_t* chosen;  // of a maximum
  Element* dx;
  Geometry g;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place out = output_place(g, i, width);
    Vector<Element, width> d = load_vector<width>(dy + i * width);
    Vector<std::int32_t, width> found;
    if constexpr (max) {
      found = load_vector<width>(chosen + i * width);
    } else {
      const auto area = static_cast<float>(g.kernel_height * g.kernel_width);
      DPTRAIN_UNROLLED
      for (int v = 0; v < width; ++v) store(d.of[v], wide(d.of[v]) / area);
    }
    const int first_row = out.row * g.stride_height, first_column = out.column * g.stride_width;
    const int last_row = out.row + 1 == g.out_height ? g.height : first_row + g.stride_height;
    const int last_column = out.column + 1 == g.out_width ? g.width : first_column + g.stride_width;
    Element* image = dx + std::int64_t{out.outer} * g.height * g.width * g.inner + out.first;
    for (int row = first_row; row < last_row; ++row) {
      for (int column = first_column; column < last_column; ++column) {
        const int pixel = row * g.width + column;
        const bool inside = row < first_row + g.kernel_height && column < first_column + g.kernel_width;
        Vector<Element, width> result;
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) {
          bool is_here = inside;
          if constexpr (max) is_here = found.of[v] == pixel;
          result.of[v] = d.of[v];
          if (!is_here) store(result.of[v], 0.0f);
        }
        store_vector(image + pixel * g.inner, result);
      }
    }
  }
};

/// From all windows that hold it to an element of the input.
template <class Element, int width, bool max>
struct Backward {
  const Element* dy;
  const std::int32_t* chosen;
  Element* dx;
  Geometry g;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Place in = input_place(g, i, width);
    const Span rows = windows_of(in.row, g.by_stride_height, g.padding_height, g.kernel_height, g.out_height);
    const Span columns = windows_of(in.column, g.by_stride_width, g.padding_width, g.kernel_width, g.out_width);
    const std::int64_t first = std::int64_t{in.outer} * g.out_height * g.out_width * g.inner + in.first;
    const int pixel = in.row * g.width + in.column;
    float sums[width] = {};
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const std::int64_t out = first + (row * g.out_width + column) * g.inner;
        const Vector<Element, width> d = load_vector<width>(dy + out);
        Vector<std::int32_t, width> found;
        if constexpr (max) found = load_vector<width>(chosen + out);
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) {
          if (!max || found.of[v] == pixel) sums[v] += wide(d.of[v]);
        }
      }
    }
    const auto area = static_cast<float>(g.kernel_height * g.kernel_width);
    Vector<Element, width> result;
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) store(result.of[v], max ? sums[v] : sums[v] / area);
    store_vector(dx + i * width, result);
  }
};

/// use(part of the shape, images before it): as many images at a time as indices of 31 bits reach.
template <class Use>
void in_parts(const PoolShape& shape, const Use& use) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const std::int64_t image = std::max(shape.height * shape.width, shape.out_height * shape.out_width) * shape.inner;
  const std::int64_t at_once = std::max<std::int64_t>(1, (kMost - 1) / image);
  for (std::int64_t first = 0; first < shape.outer; first += at_once) {
    PoolShape part = shape;
    part.outer = std::min(at_once, shape.outer - first);
    use(part, first * shape.height * shape.width * shape.inner,
        first * shape.out_height * shape.out_width * shape.inner);
  }
}

template <bool max>
void backward(const Context& context, const PoolShape& shape, const void* dy, const std::int32_t* chosen, void* dx) {
  with_element(shape.type, [&]<class Element>(Element) {
    const auto* from = elements<Element>(dy);
    auto* to = elements<Element>(dx);
    in_parts(shape, [&](const PoolShape& part, std::int64_t in, std::int64_t out) {
      with_width<Element>(
          shape.inner,
          [&](auto width_chosen) {
            constexpr int width = decltype(width_chosen)::value;
            const std::int32_t* places = chosen == nullptr ? nullptr : chosen + out;
            if (shape.apart() && shape.small())
              for_each(part.outputs() / width, context.stream,
                       BackwardApart<Element, width, max>{from + out, places, to + in, Geometry(shape, width)});
            else
              for_each(part.inputs() / width, context.stream,
                       Backward<Element, width, max>{from + out, places, to + in, Geometry(shape, width)});
          },
          from + out, to + in);
    });
  });
}

}  // namespace

void max_pool(const Context& context, const PoolShape& shape, const void* x, void* y, std::int32_t* chosen) {
  with_element(shape.type, [&]<class Element>(Element) {
    in_parts(shape, [&](const PoolShape& part, std::int64_t in, std::int64_t out) {
      const Element* from = elements<Element>(x) + in;
      Element* to = elements<Element>(y) + out;
      with_width<Element>(
          shape.inner,
          [&](auto width_chosen) {
            constexpr int width = decltype(width_chosen)::value;
            for_each(part.outputs() / width, context.stream,
                     MaxForward<Element, width>{from, to, chosen + out, Geometry(shape, width)});
          },
          from, to);
    });
  });
}

void max_pool_backward(const Context& context, const PoolShape& shape, const void* dy, const std::int32_t* chosen,
                       void* dx) {
  backward<true>(context, shape, dy, chosen, dx);
}

void average_pool(const Context& context, const PoolShape& shape, const void* x, void* y) {
  with_element(shape.type, [&]<class Element>(Element) {
    in_parts(shape, [&](const PoolShape& part, std::int64_t in, std::int64_t out) {
      const Element* from = elements<Element>(x) + in;
      Element* to = elements<Element>(y) + out;
      with_width<Element>(
          shape.inner,
          [&](auto width_chosen) {
            constexpr int width = decltype(width_chosen)::value;
            for_each(part.outputs() / width, context.stream,
                     AverageForward<Element, width>{from, to, Geometry(shape, width)});
          },
          from, to);
    });
  });
}

void average_pool_backward(const Context& context, const PoolShape& shape, const void* dy, void* dx) {
  backward<false>(context, shape, dy, nullptr, dx);
}

}  // namespace dptrain::cuda
