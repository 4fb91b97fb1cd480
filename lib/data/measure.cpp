#include "data/measure.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dptrain {

void ChannelSums::add(std::span<const std::uint8_t> values, std::int64_t plane) {
  const auto size = static_cast<std::size_t>(plane);
  for (std::size_t k = 0; (k + 1) * size <= values.size(); ++k) {
    Sums& sums = sums_[k % sums_.size()];
    const std::span<const std::uint8_t> of = values.subspan(k * size, size);
    constexpr std::size_t chunk = 1 << 16;  // 65536 * 255^2 just fits in 32 bits, which vectorises
    for (std::size_t start = 0; start < of.size(); start += chunk) {
      std::uint32_t part = 0, part_squares = 0;
      for (const std::uint8_t value : of.subspan(start, std::min(chunk, of.size() - start))) {
        part += value;
        part_squares += std::uint32_t{value} * value;
      }
      sums.sum += part;
      sums.squares += part_squares;
    }
    sums.count += of.size();
  }
}

Normalisation ChannelSums::normalisation(const std::string& what) const {
  Normalisation out;
  for (const Sums& sums : sums_) {
    const double count = static_cast<double>(sums.count);
    const double mean = static_cast<double>(sums.sum) / count;
    const double variance = static_cast<double>(sums.squares) / count - mean * mean;
    if (!(variance > 1e-9))
      fail(ExitStatus::data, "{}: every value is {:.0f}; there is nothing to learn from", what, mean);
    out.mean.push_back(static_cast<float>(mean / 255));
    out.std.push_back(static_cast<float>(std::sqrt(variance) / 255));
  }
  return out;
}

Normalisation measure_normalisation(std::span<const std::uint8_t> values, const std::string& what) {
  ChannelSums sums(1);
  sums.add(values, static_cast<std::int64_t>(values.size()));
  return sums.normalisation(what);
}

}  // namespace dptrain
