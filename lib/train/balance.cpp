#include "train/balance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/statistics.h"
#include "train/assignment.h"

namespace dptrain {

namespace {

/// When the last replica is done.
double step_seconds(const std::vector<int>& shares, const std::vector<double>& costs) {
  double last = 0;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    if (shares[r] > 0) last = std::max(last, shares[r] * costs[r]);
  }
  return last;
}

}  // namespace

std::optional<std::vector<double>> Balancer::stepped(std::int64_t step, const std::vector<double>& seconds,
                                                     const std::vector<int>& shares, const std::vector<double>& costs) {
  if (step < first_) return std::nullopt;
  bool whole = false;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    if (shares[r] == 0) continue;
    samples_[r].push_back(seconds[r] / shares[r]);
    whole = samples_[r].size() == kWindow;
  }
  if (!whole) return std::nullopt;
  std::vector<double> measured = costs;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    if (shares[r] > 0) measured[r] = std::max(median(std::move(samples_[r])), 1e-9);
  }
  clear();
  const std::vector<int> better = allot(std::accumulate(shares.begin(), shares.end(), 0), measured);
  if (step_seconds(better, measured) >= kWorthIt * step_seconds(shares, measured)) return std::nullopt;
  return measured;
}

void Balancer::restart(std::int64_t step) {
  first_ = step;
  clear();
}

void Balancer::clear() {
  for (auto& replica : samples_) replica.clear();
}

}  // namespace dptrain
