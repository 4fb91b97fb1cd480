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

/// The weights of each step sum to kOne.
void Resampler::prepare_axis(double start, double length, std::int64_t extent, std::int64_t count, Axis& axis) {
  const double step = length / static_cast<double>(count);
  const double reach = std::max(step, 1.0);
  const auto most = static_cast<std::size_t>(2 * std::ceil(reach)) + 1;
  axis.first.resize(static_cast<std::size_t>(count));
  axis.count.resize(static_cast<std::size_t>(count));
  axis.weights.resize(static_cast<std::size_t>(count) * most);
  axis.most = most;
  shares_.resize(most);
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
      shares_[t] = std::max(0.0, 1 - distance);
      total += shares_[t];
    }
    std::int32_t left = kOne;
    std::size_t heaviest = 0;
    std::int32_t* weights = axis.weights.data() + k * most;
    for (std::size_t t = 0; t < taps; ++t) {
      weights[t] = total > 0 ? static_cast<std::int32_t>(shares_[t] / total * kOne) : 0;
      left -= weights[t];
      if (shares_[t] > shares_[heaviest]) heaviest = t;
    }
    weights[heaviest] += left;
    axis.first[k] = static_cast<std::int32_t>(begin);
    axis.count[k] = static_cast<std::int32_t>(taps);
  }
}

void Resampler::prepare(ImageExtents from, const Box& box, ImageExtents to) {
  prepare_axis(box.left, box.width, from.width, to.width, horizontal_);
  prepare_axis(box.top, box.height, from.height, to.height, vertical_);
}

void Resampler::resample(const Plane& from, std::uint8_t* out) {
  const std::size_t width = horizontal_.first.size(), height = vertical_.first.size();
  const std::size_t across = horizontal_.most, down = vertical_.most;
  // Only the rows that count, each at its new width; then down their columns.
  const std::int64_t top = vertical_.first.front(), bottom = vertical_.first.back() + vertical_.count.back();
  rows_.resize(static_cast<std::size_t>(bottom - top) * width);
  for (std::int64_t y = top; y < bottom; ++y) {
    const std::uint8_t* row = from.data + y * from.row;
    std::uint8_t* to = rows_.data() + static_cast<std::size_t>(y - top) * width;
    for (std::size_t x = 0; x < width; ++x) {
      const std::int32_t* weights = horizontal_.weights.data() + x * across;
      const std::uint8_t* pixel = row + horizontal_.first[x] * from.pixel;
      std::int32_t sum = 0;
      for (std::int32_t t = 0; t < horizontal_.count[x]; ++t, pixel += from.pixel) sum += *pixel * weights[t];
      to[x] = rounded(sum);
    }
  }
  for (std::size_t y = 0; y < height; ++y) {
    const std::int32_t* weights = vertical_.weights.data() + y * down;
    const std::uint8_t* rows = rows_.data() + static_cast<std::size_t>(vertical_.first[y] - top) * width;
    for (std::size_t x = 0; x < width; ++x) {
      std::int32_t sum = 0;
      for (std::int32_t t = 0; t < vertical_.count[y]; ++t)
        sum += rows[static_cast<std::size_t>(t) * width + x] * weights[t];
      *out++ = rounded(sum);
    }
  }
}

}  // namespace dptrain
