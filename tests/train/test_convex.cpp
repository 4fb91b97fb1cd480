// A convex problem with a known optimum, through the trainer: how near to it each mode ends, at 1, 2 and 4 replicas;
// and a rate that is fine for sync and too large for gradients without a bound on their staleness, which the run does
// not survive.
#include <doctest/doctest.h>

#include "core/error.h"
#include "train/convex.h"
#include "train/in_rounds.h"

namespace dptrain::test {

TEST_CASE("how near each mode ends to the optimum, which lies 0.97 from zero") {
  const LeastSquares problem;
  CHECK(problem.distance_of_zero() == doctest::Approx(0.97).epsilon(0.001));
  struct Case {
    const char* mode;
    double lr, distance;
  };
  // An asynchronous update is of 8 samples and not of 32: the rate is a quarter of sync's. Where samples are weighted,
  // left out or lost as threads happen to run, those of an epoch no longer add up to the gradient of all, and more of
  // the batches' noise is left.
  const Case cases[] = {
      {"mode: sync", 0.6, 0.002},
      {"mode: async\nasync: {max_staleness: 0}", 0.6, 0.002},
      {"mode: async\nasync: {max_staleness: 1}", 0.15, 0.002},
      {"mode: async\nasync: {max_staleness: 4, on_stale: drop}", 0.15, 0.1},
      {"mode: async\nasync: {max_staleness: 4, on_stale: scale}", 0.15, 0.1},
      {"mode: async\nasync: {}", 0.15, 0.002},
      {"mode: async\nasync: {updates: hogwild}", 0.15, 0.1},
      {"mode: async\nasync: {updates_per_apply: 3}", 0.4, 0.002},
      {"mode: local_sgd\nlocal_sgd: {workers: 4, sync_every: 6}", 0.6, 0.005},
      {"mode: local_sgd\nlocal_sgd: {workers: 4, sync_every: 6, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9, "
       "nesterov: true}}",
       0.6, 0.005},
  };
  for (const Case& c : cases) {
    for (const std::int64_t replicas : {1, 2, 4}) {
      CAPTURE(std::string(c.mode));
      CAPTURE(replicas);
      const JobSpec job = LeastSquares::job(c.mode, replicas, 400, c.lr, "cosine");
      CHECK(problem.distance_after(job) < c.distance);
    }
  }
}

TEST_CASE("a rate that is fine for sync is too large without a bound on staleness, and that ends the run") {
  const LeastSquares problem;
  const double lr = 1.5 / problem.largest_curvature();  // 2 is where gradient descent itself diverges
  const auto job = [&](const std::string& mode) { return LeastSquares::job(mode, 4, 200, lr, "constant"); };
  // At a rate that stays the same it keeps some of the noise of its batches.
  CHECK(problem.distance_after(job("mode: sync")) < 0.25);
  CHECK(problem.distance_after(job("mode: async\nasync: {max_staleness: 0}"), in_rounds(4)) < 0.25);
  // Four replicas always read before any of them pushes: as with replicas of one speed that never stumble.
  try {
    problem.distance_after(job("mode: async\nasync: {}"), in_rounds(4));
    FAIL("it did not diverge");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::failed);
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(message.find("is not finite at step ") != std::string::npos);
    CHECK(message.find("training has diverged") != std::string::npos);
    CHECK(message.find("a bound (async.max_staleness) may help") != std::string::npos);
  }
}

}  // namespace dptrain::test
