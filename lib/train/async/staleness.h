// Purpose: how stale the gradients of an asynchronous run were, in numbers. Thread safety: a value.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dptrain {

/// Over deposited gradients; those that were dropped or skipped are counted apart.
struct StalenessCounts {
  /// The last entry of the histogram stands for its lag and everything above.
  static constexpr std::int64_t kBins = 65;

  std::int64_t gradients = 0, dropped = 0, skipped = 0;
  std::int64_t max = 0, sum = 0;          ///< of lags
  std::vector<std::int64_t> histogram{};  ///< how many had lag k; as long as the largest that occurred

  void add(std::int64_t lag) {
    ++gradients;
    sum += lag;
    max = std::max(max, lag);
    const auto bin = static_cast<std::size_t>(std::min(lag, kBins - 1));
    if (histogram.size() <= bin) histogram.resize(bin + 1);
    ++histogram[bin];
  }
  double mean() const { return gradients == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(gradients); }
  bool operator==(const StalenessCounts&) const = default;
};

/// What a checkpoint keeps of an asynchronous run besides what every run has.
struct AsyncState {
  std::int64_t version = 0;  ///< of the store
  StalenessCounts staleness{};
  std::int64_t fallback_step = -1, fallback_version = -1;  ///< where it became synchronous; -1: it did not
  std::int64_t recorded_from = -1;  ///< the step at which async.record begins; -1: the run is not recorded
};

}  // namespace dptrain
