#include "train/forecast/shared_cores.h"

#include <algorithm>
#include <deque>
#include <queue>
#include <utility>

#include "core/error.h"

namespace dptrain {

double shared_cores_seconds(const std::vector<double>& work, int cores, double slice) {
  constexpr double kMostSlices = 1000;  // of a thread: finer ones would tell nothing more
  DPTRAIN_CHECK(cores > 0 && slice > 0, "{} cores, a slice of {} s", cores, slice);
  if (work.empty()) return 0;
  const double longest = *std::max_element(work.begin(), work.end());
  if (work.size() <= static_cast<std::size_t>(cores)) return longest;
  slice = std::max(slice, longest / kMostSlices);
  std::vector<double> rest = work;
  std::deque<std::size_t> waiting;
  for (std::size_t i = 0; i < work.size(); ++i) waiting.push_back(i);
  using Turn = std::pair<double, std::size_t>;  // when it ends, and whose it is
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> running;
  double now = 0;
  const auto begin = [&] {
    const std::size_t thread = waiting.front();
    waiting.pop_front();
    const double turn = std::min(rest[thread], slice);
    rest[thread] -= turn;
    running.emplace(now + turn, thread);
  };
  while (!waiting.empty() && running.size() < static_cast<std::size_t>(cores)) begin();
  while (!running.empty()) {
    const auto [end, thread] = running.top();
    running.pop();
    now = end;
    if (rest[thread] > 0) waiting.push_back(thread);
    if (!waiting.empty()) begin();
  }
  return now;
}

}  // namespace dptrain
