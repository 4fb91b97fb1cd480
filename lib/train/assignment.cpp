#include "train/assignment.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dptrain {

std::vector<int> allot(int count, const std::vector<double>& costs) {
  std::vector<int> shares(costs.size(), 0);
  const auto able = std::count_if(costs.begin(), costs.end(), [](double cost) { return std::isfinite(cost); });
  DPTRAIN_CHECK(able > 0, "no replica is left");
  if (count >= able) {
    for (std::size_t r = 0; r < costs.size(); ++r) shares[r] = std::isfinite(costs[r]) ? 1 : 0;
    count -= static_cast<int>(able);
  }
  for (; count > 0; --count) {
    std::size_t best = 0;  // whoever would be done with one more first
    double end = kNever;
    for (std::size_t r = 0; r < costs.size(); ++r) {
      const double then = costs[r] * (shares[r] + 1);
      if (then < end) {
        best = r;
        end = then;
      }
    }
    ++shares[best];
  }
  return shares;
}

Assignment::Assignment(const RunSchedule& schedule, std::vector<double> costs)
    : schedule_(schedule),
      costs_(std::move(costs)),
      shares_(allot(static_cast<int>(schedule.full().micro_batches.size()), costs_)),
      full_(replan(schedule.full(), shares_)),
      last_(replan(schedule.last(), allot(static_cast<int>(schedule.last().micro_batches.size()), costs_))) {}

int Assignment::able_before(int rank) const {
  return static_cast<int>(std::count_if(costs_.begin(), costs_.begin() + rank, [](double c) { return c < kNever; }));
}

}  // namespace dptrain
