#include "kernels/cpu/norm_loops.h"

#include <cstring>

#include "core/bfloat16.h"

namespace dptrain::cpu {

namespace {

/// As many floats' bits, and upper halves. GCC converts only vectors whose sizes are written out.
template <int width>
struct Lanes;
template <>
struct Lanes<16> {
  typedef std::uint32_t Bits __attribute__((vector_size(64)));
  typedef std::uint16_t Halves __attribute__((vector_size(32)));
};
template <>
struct Lanes<8> {
  typedef std::uint32_t Bits __attribute__((vector_size(32)));
  typedef std::uint16_t Halves __attribute__((vector_size(16)));
};
template <>
struct Lanes<4> {
  typedef std::uint32_t Bits __attribute__((vector_size(16)));
  typedef std::uint16_t Halves __attribute__((vector_size(8)));
};
template <>
struct Lanes<2> {
  typedef std::uint32_t Bits __attribute__((vector_size(8)));
  typedef std::uint16_t Halves __attribute__((vector_size(4)));
};
template <>
struct Lanes<1> {
  typedef std::uint32_t Bits __attribute__((vector_size(4)));
  typedef std::uint16_t Halves __attribute__((vector_size(2)));
};

// The compiler's vectors: it keeps arrays of accumulators in memory otherwise. One of 16 floats is two registers where
// they have 256 bits; how many lanes share one changes nothing in a lane.
template <int width>
struct Vector {
  typedef float Floats __attribute__((vector_size(width * sizeof(float))));
  Floats v;

  void load(const float* from) { std::memcpy(&v, from, sizeof v); }
  void store(float* to) const { std::memcpy(to, &v, sizeof v); }

  // As BFloat16 does it, element by element.
  void load(const BFloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    const Bits bits = __builtin_convertvector(halves, Bits) << 16;
    std::memcpy(&v, &bits, sizeof v);
  }
  void store(BFloat16* to) const {
    Bits bits;
    std::memcpy(&bits, &v, sizeof bits);
    const Bits rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, quiet_nan = (bits >> 16) | 0x40;
    const Halves halves = __builtin_convertvector((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet_nan : rounded, Halves);
    std::memcpy(to, &halves, sizeof halves);
  }

 private:
  using Bits = typename Lanes<width>::Bits;
  using Halves = typename Lanes<width>::Halves;
};

/// Calls body.template run<width>(first lane) for groups of 16 lanes and then of 8, 4, 2 and 1.
template <class Body>
void for_lanes(std::int64_t lanes, const Body& body) {
  std::int64_t lane = 0;
  for (; lane + 16 <= lanes; lane += 16) body.template run<16>(lane);
  const std::int64_t left = lanes - lane;
  if (left & 8) body.template run<8>(lane), lane += 8;
  if (left & 4) body.template run<4>(lane), lane += 4;
  if (left & 2) body.template run<2>(lane), lane += 2;
  if (left & 1) body.template run<1>(lane);
}

constexpr int kSums = 4;  // in turn, because an addition takes several cycles; added up as (0 + 1) + (2 + 3)

template <class Element>
struct Moments {
  Rows shape;
  const Element* x;
  float *mean, *squares;

  template <int width>
  void run(std::int64_t lane) const {
    using V = Vector<width>;
    const std::int64_t rows = shape.rows, stride = shape.lanes;
    const Element* column = x + lane;
    V sums[kSums] = {}, in, centre;
    std::int64_t row = 0;
    for (; row + kSums <= rows; row += kSums) {
      for (int k = 0; k < kSums; ++k) {
        in.load(column + (row + k) * stride);
        sums[k].v += in.v;
      }
    }
    for (; row < rows; ++row) {
      in.load(column + row * stride);
      sums[0].v += in.v;
    }
    centre.v = ((sums[0].v + sums[1].v) + (sums[2].v + sums[3].v)) / static_cast<float>(rows);
    centre.store(mean + lane);
    for (V& sum : sums) sum = V{};
    for (row = 0; row + kSums <= rows; row += kSums) {
      for (int k = 0; k < kSums; ++k) {
        in.load(column + (row + k) * stride);
        in.v -= centre.v;
        sums[k].v += in.v * in.v;
      }
    }
    for (; row < rows; ++row) {
      in.load(column + row * stride);
      in.v -= centre.v;
      sums[0].v += in.v * in.v;
    }
    sums[0].v = (sums[0].v + sums[1].v) + (sums[2].v + sums[3].v);
    sums[0].store(squares + lane);
  }
};

template <bool relu, class Element>
struct Scale {
  Rows shape;
  const Element* x;
  Scaling by;
  Element* y;

  template <int width>
  void run(std::int64_t lane) const {
    Vector<width> scale, shift, value, zero = {};
    scale.load(by.scale + lane);
    shift.load(by.shift + lane);
    for (std::int64_t place = lane; place < shape.places(); place += shape.lanes) {
      value.load(x + place);
      value.v = value.v * scale.v + shift.v;
      if constexpr (relu) value.v = value.v < zero.v ? zero.v : value.v;  // NaN stays NaN
      value.store(y + place);
    }
  }
};

/// dy behind the ReLU of a row, which is zero where forward gave zero: computed again, to the same bits.
template <bool relu, int width>
struct Difference {
  Vector<width> scale, shift, zero = {};

  Difference(const Scaling& forward, std::int64_t lane) {
    if (!relu) return;
    scale.load(forward.scale + lane);
    shift.load(forward.shift + lane);
  }
  template <class Element>
  void load(const Vector<width>& x, const Element* from, Vector<width>& dy) const {
    dy.load(from);
    if constexpr (relu) dy.v = x.v * scale.v + shift.v > zero.v ? dy.v : zero.v;
  }
};

template <bool relu, class Element>
struct SumGradients {
  Rows shape;
  const Element *x, *dy;
  Scaling forward;
  const float* mean;
  float *sums, *products;

  template <int width>
  void run(std::int64_t lane) const {
    using V = Vector<width>;
    const Difference<relu, width> difference(forward, lane);
    V sum[kSums] = {}, product[kSums] = {}, in, d, centre;
    centre.load(mean + lane);
    const auto add = [&](std::int64_t row, int k) {
      in.load(x + lane + row * shape.lanes);
      difference.load(in, dy + lane + row * shape.lanes, d);
      sum[k].v += d.v;
      product[k].v += d.v * (in.v - centre.v);
    };
    std::int64_t row = 0;
    for (; row + kSums <= shape.rows; row += kSums) {
      for (int k = 0; k < kSums; ++k) add(row + k, k);
    }
    for (; row < shape.rows; ++row) add(row, 0);
    sum[0].v = (sum[0].v + sum[1].v) + (sum[2].v + sum[3].v);
    product[0].v = (product[0].v + product[1].v) + (product[2].v + product[3].v);
    sum[0].store(sums + lane);
    product[0].store(products + lane);
  }
};

template <bool relu, class Element>
struct Gradient {
  Rows shape;
  const Element *x, *dy;
  Scaling forward;
  const float* mean;
  GradientLine line;
  Element* dx;

  template <int width>
  void run(std::int64_t lane) const {
    const Difference<relu, width> difference(forward, lane);
    Vector<width> centre, slope, curve, offset, in, d;
    centre.load(mean + lane);
    slope.load(line.slope + lane);
    curve.load(line.curve + lane);
    offset.load(line.offset + lane);
    for (std::int64_t place = lane; place < shape.places(); place += shape.lanes) {
      in.load(x + place);
      difference.load(in, dy + place, d);
      d.v = d.v * slope.v + ((in.v - centre.v) * curve.v + offset.v);
      d.store(dx + place);
    }
  }
};

}  // namespace

template <class Element>
void moments(const Rows& shape, const Element* x, float* mean, float* squares) {
  for_lanes(shape.lanes, Moments<Element>{shape, x, mean, squares});
}

template <class Element>
void scale_rows(const Rows& shape, const Element* x, const Scaling& by, Element* y) {
  if (by.relu)
    for_lanes(shape.lanes, Scale<true, Element>{shape, x, by, y});
  else
    for_lanes(shape.lanes, Scale<false, Element>{shape, x, by, y});
}

template <class Element>
void sum_gradients(const Rows& shape, const Element* x, const Element* dy, const Scaling& forward, const float* mean,
                   float* sums, float* products) {
  if (forward.relu)
    for_lanes(shape.lanes, SumGradients<true, Element>{shape, x, dy, forward, mean, sums, products});
  else
    for_lanes(shape.lanes, SumGradients<false, Element>{shape, x, dy, forward, mean, sums, products});
}

template <class Element>
void gradient_rows(const Rows& shape, const Element* x, const Element* dy, const Scaling& forward, const float* mean,
                   const GradientLine& line, Element* dx) {
  if (forward.relu)
    for_lanes(shape.lanes, Gradient<true, Element>{shape, x, dy, forward, mean, line, dx});
  else
    for_lanes(shape.lanes, Gradient<false, Element>{shape, x, dy, forward, mean, line, dx});
}

template void moments(const Rows&, const float*, float*, float*);
template void moments(const Rows&, const BFloat16*, float*, float*);
template void scale_rows(const Rows&, const float*, const Scaling&, float*);
template void scale_rows(const Rows&, const BFloat16*, const Scaling&, BFloat16*);
template void sum_gradients(const Rows&, const float*, const float*, const Scaling&, const float*, float*, float*);
template void sum_gradients(const Rows&, const BFloat16*, const BFloat16*, const Scaling&, const float*, float*,
                            float*);
template void gradient_rows(const Rows&, const float*, const float*, const Scaling&, const float*, const GradientLine&,
                            float*);
template void gradient_rows(const Rows&, const BFloat16*, const BFloat16*, const Scaling&, const float*,
                            const GradientLine&, BFloat16*);

}  // namespace dptrain::cpu
