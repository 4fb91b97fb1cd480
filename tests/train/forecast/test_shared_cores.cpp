#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>

#include "train/forecast/shared_cores.h"

namespace dptrain {

TEST_CASE("work below a time slice is not split, longer work is shared evenly") {
  CHECK(shared_cores_seconds({}, 2) == 0);
  CHECK(shared_cores_seconds({1e-3, 1e-3, 1e-3}, 2) == doctest::Approx(2e-3));
  CHECK(shared_cores_seconds({1, 1, 1}, 2) == doctest::Approx(1.5).epsilon(0.01));
  CHECK(shared_cores_seconds({1e-3, 1e-3, 1e-3, 1e-3}, 2) == doctest::Approx(2e-3));
  CHECK(shared_cores_seconds({1, 1, 1, 1}, 2) == doctest::Approx(2));
}

TEST_CASE("no thread is faster than alone, no core idles while one waits") {
  CHECK(rc::check([] {
    const auto numbers = *rc::gen::nonEmpty<std::vector<int>>();
    std::vector<double> work;
    for (const int number : numbers) work.push_back(static_cast<double>(std::abs(number % 1000)) * 1e-4);
    const int cores = *rc::gen::inRange(1, 9);
    const double slice = static_cast<double>(*rc::gen::inRange(1, 100)) * 1e-4;
    const double seconds = shared_cores_seconds(work, cores, slice);
    const double longest = *std::max_element(work.begin(), work.end());
    const double all = std::accumulate(work.begin(), work.end(), 0.0);
    constexpr double kRounding = 1e-9;
    RC_ASSERT(seconds >= longest - kRounding);
    RC_ASSERT(seconds >= all / cores - kRounding);
    RC_ASSERT(seconds <= all / cores + longest + kRounding);
    if (work.size() <= static_cast<std::size_t>(cores)) RC_ASSERT(seconds == longest);
    if (cores == 1) RC_ASSERT(std::abs(seconds - all) <= kRounding);
    RC_ASSERT(shared_cores_seconds(work, static_cast<int>(work.size()), slice) <= seconds + kRounding);
  }));
}

}  // namespace dptrain
