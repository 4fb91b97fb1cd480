#include "data/images/resample.h"

#include <algorithm>
#include <cmath>

namespace dptrain {
namespace {

constexpr int kBits = 22;  // of a weight: 255 << 22 still fits
constexpr std::int32_t kOne = 1 << kBits, kHalf = kOne / 2;

std::uint8_t rounded(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp((sum + kHalf) >> kBits, 0, 255));
}

/// For each of `count` steps of the box: which of the `extent` pixels count, and how much. They sum to kOne.
void make_axis(double start, double length, std::int64_t extent, std::int64_t count, ResampleRoom::Axis& axis) {
  const double step = length / static_cast<double>(count);
  const double reach = std::max(step, 1.0);
  const auto most = static_cast<std::size_t>(2 * std::ceil(reach)) + 1;
  axis.first.resize(static_cast<std::size_t>(count));
  axis.count.resize(static_cast<std::size_t>(count));
  axis.weights.assign(static_cast<std::size_t>(count) * most, 0);
  std::vector<double> shares(most);
  for (std::size_t k = 0; k < axis.first.size(); ++k) {
    const double centre = start + (static_cast<double>(k) + 0.5) * step;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(centre - reach + 0.5)));
    const auto last = std::min<std::int64_t>(extent, static_cast<std::int64_t>(std::floor(centre + reach + 0.5)));
    const std::int64_t begin = std::clamp<std::int64_t>(first, 0, extent - 1);
    const auto taps =
        static_cast<std::size_t>(std::clamp<std::int64_t>(last - begin, 1, static_cast<std::int64_t>(most)));
    double total = 0;
    for (std::size_t t = 0; t < taps; ++t) {
      const double distance = std::abs(static_cast<double>(begin) + static_cast<double>(t) + 0.5 - centre) / reach;
      shares[t] = std::max(0.0, 1 - distance);
      total += shares[t];
    }
    std::int32_t left = kOne;
    std::size_t heaviest = 0;
    std::int32_t* weights = axis.weights.data() + k * most;
    for (std::size_t t = 0; t < taps; ++t) {
      weights[t] = total > 0 ? static_cast<std::int32_t>(shares[t] / total * kOne) : 0;
      left -= weights[t];
      if (shares[t] > shares[heaviest]) heaviest = t;
    }
    weights[heaviest] += left;
    axis.first[k] = static_cast<std::int32_t>(begin);
    axis.count[k] = static_cast<std::int32_t>(taps);
  }
}

}  // namespace

Box covering_box(ImageExtents image, ImageExtents target) {
  const double height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  const double scale = std::min(height / static_cast<double>(target.height), width / static_cast<double>(target.width));
  Box box;
  box.height = scale * static_cast<double>(target.height);
  box.width = scale * static_cast<double>(target.width);
  box.top = (height - box.height) / 2;
  box.left = (width - box.width) / 2;
  return box;
}

void resample(const Plane& from, const Box& box, ImageExtents extents, std::uint8_t* out, ResampleRoom& room) {
  make_axis(box.left, box.width, from.extents.width, extents.width, room.horizontal);
  make_axis(box.top, box.height, from.extents.height, extents.height, room.vertical);
  const auto width = static_cast<std::size_t>(extents.width), height = static_cast<std::size_t>(extents.height);
  const std::size_t across = room.horizontal.weights.size() / width, down = room.vertical.weights.size() / height;
  // Only the rows that count, each at its new width; then down their columns.
  const std::int64_t top = room.vertical.first.front();
  const std::int64_t bottom = room.vertical.first.back() + room.vertical.count.back();
  room.rows.resize(static_cast<std::size_t>(bottom - top) * width);
  for (std::int64_t y = top; y < bottom; ++y) {
    const std::uint8_t* row = from.data + y * from.row;
    std::uint8_t* to = room.rows.data() + static_cast<std::size_t>(y - top) * width;
    for (std::size_t x = 0; x < width; ++x) {
      const std::int32_t* weights = room.horizontal.weights.data() + x * across;
      const std::uint8_t* pixel = row + room.horizontal.first[x] * from.pixel;
      std::int32_t sum = 0;
      for (std::int32_t t = 0; t < room.horizontal.count[x]; ++t, pixel += from.pixel) sum += *pixel * weights[t];
      to[x] = rounded(sum);
    }
  }
  for (std::size_t y = 0; y < height; ++y) {
    const std::int32_t* weights = room.vertical.weights.data() + y * down;
    const std::uint8_t* rows = room.rows.data() + static_cast<std::size_t>(room.vertical.first[y] - top) * width;
    for (std::size_t x = 0; x < width; ++x) {
      std::int32_t sum = 0;
      for (std::int32_t t = 0; t < room.vertical.count[y]; ++t)
        sum += rows[static_cast<std::size_t>(t) * width + x] * weights[t];
      *out++ = rounded(sum);
    }
  }
}

}  // namespace dptrain
