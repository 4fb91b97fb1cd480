// Purpose: mean and standard deviation of each channel of images, from exact integer sums, so the same on every machine
//   and in any order. Thread safety: one user at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dptrain {

/// Mean and standard deviation of each channel, of values scaled to [0, 1].
struct Normalisation {
  std::vector<float> mean, std;
};

class ChannelSums {
 public:
  explicit ChannelSums(std::int64_t channels) : sums_(static_cast<std::size_t>(channels)) {}
  /// Samples of (channels, ...), one or several.
  void add(std::span<const std::uint8_t> values, std::int64_t plane);
  /// Errors (data): all values of a channel are equal, so there is nothing to learn from; `what` names them in the
  /// message.
  Normalisation normalisation(const std::string& what) const;

 private:
  struct Sums {
    std::uint64_t sum = 0, squares = 0, count = 0;
  };
  std::vector<Sums> sums_;
};

/// Of one channel. Errors: as above.
Normalisation measure_normalisation(std::span<const std::uint8_t> values, const std::string& what);

}  // namespace dptrain
