// The reducer against a plain implementation that knows no replicas, chunks or programs: for each element, the tree's
// sum by its definition, divided, clipped, and the rule called once.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "core/philox.h"
#include "kernels/clip.h"
#include "optim/optimizer.h"
#include "train/cpu/cpu_reducer.h"

namespace dptrain {

namespace {

std::vector<OptimizerSpec> specs() {
  return {SgdSpec{.lr = 0.1, .weight_decay = 1e-3},
          SgdSpec{.lr = 0.1, .momentum = 0.9, .nesterov = true},
          AdamSpec{.lr = 0.1, .weight_decay = 0.1},
          AdamSpec{.lr = 0.1, .weight_decay = 0.1, .decoupled_weight_decay = true},
          RmspropSpec{.momentum = 0.9, .weight_decay = 0.1},
          AdagradSpec{.weight_decay = 0.1}};
}

float gradient_of(std::int64_t step, int micro_batch, std::int64_t element) {
  const RandomStream random(5, RandomPurpose::test, static_cast<std::uint32_t>(micro_batch),
                            static_cast<std::uint64_t>(step));
  return random.uniform(0, static_cast<std::uint64_t>(element)) * 4 - 2;
}

float tree(std::int64_t step, int lo, int hi, std::int64_t element) {
  if (hi - lo == 1) return gradient_of(step, lo, element);
  const int mid = tree_split(lo, hi);
  return tree(step, lo, mid, element) + tree(step, mid, hi, element);
}

struct Setting {
  std::int64_t floats, samples, micro_batch;
  std::optional<double> clip;
  OptimizerSpec optimizer;
  std::int64_t steps;
  UpdateRanges ranges{};
};

/// How element i is treated.
UpdateRange treatment_of(const Setting& s, std::size_t i) {
  UpdateRange treatment;
  for (const UpdateRange& range : s.ranges)
    if (range.first <= static_cast<std::int64_t>(i)) treatment = range;
  return treatment;
}

std::vector<float> initial(std::int64_t floats) {
  std::vector<float> values(static_cast<std::size_t>(floats));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = gradient_of(-1, 99, static_cast<std::int64_t>(i));
  return values;
}

std::vector<float> reference(const Setting& s) {
  std::vector<float> parameters = initial(s.floats);
  std::vector<float> state0(parameters.size()), state1(parameters.size()), mean(parameters.size());
  const OptimizerSpec& optimizer = s.optimizer;
  const int count = static_cast<int>(cut(s.samples, s.micro_batch).size());
  for (std::int64_t step = 0; step < s.steps; ++step) {
    double squares = 0, chunk = 0;
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] = tree(step, 0, count, static_cast<std::int64_t>(i)) / static_cast<float>(s.samples);
      if (treatment_of(s, i).treatment != Treatment::statistic)
        chunk += static_cast<double>(mean[i]) * static_cast<double>(mean[i]);
      if (i % 1024 == 1023 || i + 1 == mean.size()) {  // sums over fixed chunks, in index order
        squares += chunk;
        chunk = 0;
      }
    }
    for (std::size_t i = 0; i < mean.size(); ++i) {
      const UpdateRange range = treatment_of(s, i);
      if (range.treatment == Treatment::statistic) {
        parameters[i] = parameters[i] + range.statistic_rate * (mean[i] - parameters[i]);
        continue;
      }
      UpdateRule rule = rule_of(optimizer, step, 0.1);
      if (range.treatment == Treatment::undecayed) rule = without_decay(rule);
      const float gradient = s.clip ? mean[i] * clip_factor(std::sqrt(squares), *s.clip) : mean[i];
      std::visit(
          [&](const auto& named) {
            constexpr int buffers = std::decay_t<decltype(named)>::state_buffers;
            if constexpr (buffers == 0) named(parameters[i], gradient);
            if constexpr (buffers == 1) named(parameters[i], gradient, state0[i]);
            if constexpr (buffers == 2) named(parameters[i], gradient, state0[i], state1[i]);
          },
          rule);
    }
  }
  return parameters;
}

std::vector<float> reduced(const Setting& s, int replicas) {
  const OptimizerSpec& optimizer = s.optimizer;
  const StepPlan plan = plan_step(s.samples, s.micro_batch, replicas);
  LocalGroup group(replicas);
  CpuReducer reducer(group, s.floats, state_buffers(optimizer), s.clip, {.ranges = s.ranges});
  const std::vector<float> start = initial(s.floats);
  reducer.load(start.data());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < replicas; ++rank) {
    threads.emplace_back([&, rank] {
      const ReplicaProgram& program = plan.programs[static_cast<std::size_t>(rank)];
      std::vector<std::vector<float>> buffers(static_cast<std::size_t>(program.buffers),
                                              std::vector<float>(start.size()));
      std::vector<float*> views;
      for (auto& buffer : buffers) views.push_back(buffer.data());
      reducer.lend(rank, views);
      group.barrier();
      for (std::int64_t step = 0; step < s.steps; ++step) {
        reducer.begin(rank, rule_of(optimizer, step, 0.1));
        for (const auto& instruction : program.instructions) {
          auto& target = buffers[static_cast<std::size_t>(instruction.buffer)];
          for (std::size_t i = 0; i < target.size(); ++i) {
            if (instruction.kind == ReplicaProgram::Instruction::Kind::run) {
              target[i] = gradient_of(step, instruction.micro_batch, static_cast<std::int64_t>(i));
            } else {
              target[i] += buffers[static_cast<std::size_t>(instruction.buffer) + 1][i];
            }
          }
        }
        reducer.gather(rank);
        reducer.update(rank, plan);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<float> weights(start.size());
  reducer.save(weights.data());
  return weights;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("any number of replicas gives the bits of the plain implementation") {
  for (const OptimizerSpec& optimizer : specs()) {
    for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.5)}) {
      const Setting setting{
          .floats = 2500, .samples = 37, .micro_batch = 6, .clip = clip, .optimizer = optimizer, .steps = 3};
      const std::vector<float> wanted = reference(setting);
      CHECK_FALSE(same_bits(wanted, initial(setting.floats)));
      for (int replicas = 1; replicas <= 8; ++replicas) CHECK(same_bits(reduced(setting, replicas), wanted));
    }
  }
}

TEST_CASE("parameters that do not decay, and statistics, in any order and across chunks") {
  const UpdateRanges ranges{{0, 1008},
                            {1008, 32, Treatment::statistic, 0.1f},
                            {1040, 48, Treatment::undecayed},
                            {1088, 1008},
                            {2096, 404, Treatment::statistic, 0.3f}};
  for (const OptimizerSpec& optimizer : specs()) {
    for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.5)}) {
      const Setting setting{.floats = 2500,
                            .samples = 37,
                            .micro_batch = 6,
                            .clip = clip,
                            .optimizer = optimizer,
                            .steps = 3,
                            .ranges = ranges};
      const std::vector<float> wanted = reference(setting);
      for (const int replicas : {1, 2, 3, 5}) CHECK(same_bits(reduced(setting, replicas), wanted));
    }
  }
}

TEST_CASE("buffers smaller than a chunk, and replicas without a slice") {
  const Setting setting{
      .floats = 16, .samples = 9, .micro_batch = 2, .clip = 0.1, .optimizer = SgdSpec{.lr = 0.1}, .steps = 2};
  const std::vector<float> wanted = reference(setting);
  for (int replicas = 1; replicas <= 5; ++replicas) CHECK(same_bits(reduced(setting, replicas), wanted));
}

TEST_CASE("what is thrown before the update reaches the caller, and the others leave") {
  LocalGroup group(3);
  CpuReducer reducer(group, 16, 0, {});
  const StepPlan plan = plan_step(3, 1, 3);
  std::vector<float> gradient(16);
  int left = 0;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) reducer.lend(rank, {gradient.data()});
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        reducer.gather(rank);
        if (rank == 0) throw 7;
        reducer.update(rank, plan);
      } catch (const GroupAborted&) {
      } catch (...) {
        ++left;
        group.abort(std::current_exception());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(left == 1);
  CHECK_THROWS_AS(std::rethrow_exception(group.error()), int);
}

}  // namespace dptrain
