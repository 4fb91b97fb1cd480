// Workers on convex problems whose optimum is known, and what is theirs after an average.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "train/gradient_reducer.h"
#include "train/local_sgd/rounds.h"
#include "train/local_sgd/workers.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFloats = 3000;  // three chunks, the last one short
constexpr int kWorkers = 4;

/// Worker k minimises the mean over its samples of curvature(k, i) (w_i - target(k, i))^2 / 2.
struct Quadratic {
  bool same_curvature = true;

  double curvature(int worker, std::int64_t i) const {
    const double own = same_curvature ? 0 : 0.2 * worker;
    return 0.5 + own + static_cast<double>(i % 7) / 10;
  }
  double target(int worker, std::int64_t i) const {
    return std::sin(static_cast<double>(i) + 1.7 * static_cast<double>(worker));
  }
  /// Of the problem that all workers solve together.
  double optimum(std::int64_t i) const {
    double pull = 0, all = 0;
    for (int k = 0; k < kWorkers; ++k) {
      pull += curvature(k, i) * target(k, i);
      all += curvature(k, i);
    }
    return pull / all;
  }
  void gradient(int worker, const float* weights, std::int64_t samples, std::vector<float>& out) const {
    for (std::int64_t i = 0; i < kFloats; ++i) {
      const auto k = static_cast<std::size_t>(i);
      out[k] = static_cast<float>(static_cast<double>(samples) * curvature(worker, i) *
                                  (static_cast<double>(weights[k]) - target(worker, i)));
    }
  }
  double distance(const float* weights) const {
    double worst = 0;
    for (std::int64_t i = 0; i < kFloats; ++i)
      worst = std::max(worst, std::abs(static_cast<double>(weights[i]) - optimum(i)));
    return worst;
  }
};

/// Runs `rounds` of `every` steps and returns the average.
std::vector<float> solve(const Quadratic& problem, const LocalSgdSpec& spec, const OptimizerSpec& inner, int rounds) {
  const OptimizerSpec& optimizer = inner;
  Workers workers({.spec = spec, .floats = kFloats, .state_buffers = state_buffers(optimizer)});
  workers.set_out(true);
  std::vector<float> gradient(kFloats);
  const std::vector<std::int64_t> samples(kWorkers, 8 * spec.sync_every);
  std::int64_t step = 0;
  for (int round = 0; round < rounds; ++round) {
    for (std::int64_t h = 0; h < spec.sync_every; ++h, ++step) {
      for (int k = 0; k < kWorkers; ++k) {
        problem.gradient(k, workers.weights(k), 8, gradient);
        const std::int64_t updates = spec.worker_state == WorkerState::reset ? h : step;
        workers.update(k, rule_of(optimizer, updates, base_lr(inner)), gradient.data(), 8, std::nullopt);
      }
    }
    workers.take_average({0, workers.chunks()}, samples, round);
  }
  return {workers.average_weights(), workers.average_weights() + kFloats};
}

}  // namespace

TEST_CASE("workers with other optima and the same curvature meet at the common optimum") {
  const Quadratic problem;
  for (const WorkerState state : {WorkerState::average, WorkerState::reset, WorkerState::keep}) {
    LocalSgdSpec spec;
    spec.worker_state = state;
    CHECK(problem.distance(solve(problem, spec, SgdSpec{.lr = 0.1}, 60).data()) < 1e-5);
  }
  LocalSgdSpec averaged;
  CHECK(problem.distance(solve(problem, averaged, SgdSpec{.lr = 0.05, .momentum = 0.9}, 100).data()) < 1e-4);
  LocalSgdSpec diloco;
  diloco.outer_optimizer = SgdSpec{.lr = 0.7, .momentum = 0.9, .nesterov = true};
  CHECK(problem.distance(solve(problem, diloco, SgdSpec{.lr = 0.1}, 200).data()) < 1e-4);
}

TEST_CASE("with other curvatures too the average stays near the optimum, and nearer at a smaller rate") {
  const Quadratic problem{.same_curvature = false};
  LocalSgdSpec spec;
  const double coarse = problem.distance(solve(problem, spec, SgdSpec{.lr = 0.1}, 100).data());
  const double fine = problem.distance(solve(problem, spec, SgdSpec{.lr = 0.01}, 600).data());
  CHECK(coarse < 0.15);
  CHECK(fine < 0.03);
  CHECK(fine < coarse);
  spec.sync_every = 1;  // an average after each step is gradient descent on the common problem
  CHECK(problem.distance(solve(problem, spec, SgdSpec{.lr = 0.1}, 500).data()) < 1e-5);
}

TEST_CASE("H = 1 with plain SGD equals one synchronous step to rounding") {
  const Quadratic problem{.same_curvature = false};
  LocalSgdSpec spec;
  spec.sync_every = 1;
  const std::vector<float> local = solve(problem, spec, SgdSpec{.lr = 0.1, .weight_decay = 0.01}, 50);
  std::vector<float> gradient(kFloats), sum(kFloats), weights(kFloats);
  for (int step = 0; step < 50; ++step) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int k = 0; k < kWorkers; ++k) {
      problem.gradient(k, weights.data(), 8, gradient);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
    }
    const SgdRule rule{.lr = 0.1f, .weight_decay = 0.01f};
    for (std::size_t i = 0; i < sum.size(); ++i) rule(weights[i], sum[i] / (8 * kWorkers));
  }
  double worst = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(weights[i] - local[i])));
  CHECK(worst < 1e-6);
}

TEST_CASE("a rate that is too large diverges") {
  const Quadratic problem;
  const double distance = problem.distance(solve(problem, {}, SgdSpec{.lr = 5}, 10).data());
  CHECK((std::isnan(distance) || distance > 1e6));
}

TEST_CASE("the state after an average: everybody's mean, each one's own, or none; averaged by any split into chunks") {
  for (const WorkerState rule : {WorkerState::average, WorkerState::keep, WorkerState::reset}) {
    LocalSgdSpec spec;
    spec.worker_state = rule;
    spec.workers = 2;
    const auto ready = [&](Workers& workers) {
      for (int k = 0; k < 2; ++k) {
        for (std::int64_t i = 0; i < kFloats; ++i) workers.state(k, 0)[i] = static_cast<float>(k * 4);
        std::vector<float> gradient(kFloats, static_cast<float>(k));
        workers.update(k, SgdRule{.lr = 1, .weight_decay = 0}, gradient.data(), 1, std::nullopt);
      }
    };
    const WorkersConfig config{.spec = spec, .floats = kFloats, .state_buffers = 1};
    Workers whole(config), parts(config);
    ready(whole);
    ready(parts);
    const std::vector<std::int64_t> samples{1, 3};
    whole.take_average({0, 3}, samples, 0);
    parts.take_average({1, 3}, samples, 0);
    parts.take_average({0, 1}, samples, 0);
    for (const std::int64_t i : {std::int64_t{0}, std::int64_t{1500}, kFloats - 1}) {
      CHECK(whole.average_weights()[i] == -0.75f);
      CHECK(parts.average_weights()[i] == -0.75f);
      for (int k = 0; k < 2; ++k) {
        const float expected = rule == WorkerState::average ? 3.0f : rule == WorkerState::keep ? 4.0f * k : 0.0f;
        CHECK(whole.state(k, 0)[i] == expected);
        CHECK(parts.state(k, 0)[i] == expected);
        CHECK(whole.weights(k)[i] == -0.75f);
      }
    }
  }
}

TEST_CASE("clipping takes the norm of the mean gradient") {
  LocalSgdSpec spec;
  spec.workers = 1;
  Workers workers({.spec = spec, .floats = kFloats});
  std::vector<float> gradient(kFloats, 2.0f);  // a sum over 2 samples: the mean is 1 everywhere
  workers.update(0, SgdRule{.lr = 1, .weight_decay = 0}, gradient.data(), 2, 1.0);
  CHECK(workers.weights(0)[17] == doctest::Approx(-1 / std::sqrt(static_cast<double>(kFloats))));
}

TEST_CASE("statistics are averaged and no outer step is taken with them; nor are they clipped, or part of the norm") {
  const UpdateRanges ranges{{0, 1040, Treatment::decayed}, {1040, kFloats - 1040, Treatment::statistic, 0.5f}};
  LocalSgdSpec spec;
  spec.workers = 2;
  spec.outer_optimizer = SgdSpec{.lr = 0.5};
  Workers workers({.spec = spec, .floats = kFloats, .ranges = ranges});
  for (int k = 0; k < 2; ++k) {
    std::vector<float> gradient(kFloats, 2.0f * static_cast<float>(k + 1));  // means of 1 and 2, over 2 samples
    workers.update(k, SgdRule{.lr = 1}, gradient.data(), 2, 1.0);
    CHECK(workers.weights(k)[17] == doctest::Approx(-1 / std::sqrt(1040.0)));
    CHECK(workers.weights(k)[2000] == 0.5f * static_cast<float>(k + 1));
  }
  workers.take_average({0, 3}, std::vector<std::int64_t>{1, 3}, 0);
  CHECK(workers.average_weights()[17] == doctest::Approx(-0.5 / std::sqrt(1040.0)));
  CHECK(workers.average_weights()[2000] == 0.875f);
}

}  // namespace dptrain
