// Who runs what changes no bit: over random sequences of assignments, and the balancer's proposals from given times.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>

#include <numeric>
#include <thread>

#include "optim/optimizer.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/balance.h"
#include "train/cpu/cpu_reducer.h"
#include "train/cpu/cpu_replica.h"

namespace dptrain {

namespace {

constexpr std::int64_t kSteps = 7;
const char* const kJob = R"(name: small
dataset: {name: digits}
model:
  input: [2, 6, 6]
  layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {conv2d: {out_channels: 4, kernel_size: 2}}, flatten, {dropout: 0.2}, {linear: 3}]
train: {steps: 7, global_batch_size: 40, micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: adam}}
)";

/// The hash after all steps, where `assignments` (by step) says who runs what; without: an equal share each.
std::string trained(const JobSpec& job, const DatasetPair& data, int replicas, std::int64_t workers,
                    const std::vector<std::vector<double>>& assignments) {
  const RunSchedule schedule(job, data.train->size(), replicas);
  const OptimizerSpec& optimizer = job.train.optimizer;
  LocalGroup group(replicas);
  std::unique_ptr<CpuReducer> reducer;
  std::string hash;
  std::vector<std::shared_ptr<const Assignment>> planned;
  for (const auto& costs : assignments) planned.push_back(std::make_shared<const Assignment>(schedule, costs));
  const auto live = [&](int rank) {
    CpuReplica replica({.job = job,
                        .schedule = schedule,
                        .data = data,
                        .rank = rank,
                        .replicas = replicas,
                        .loader_workers = static_cast<int>(workers),
                        .reassigned = !planned.empty()});
    const ParameterTable& table = replica.parameters();
    if (rank == 0) {
      reducer = std::make_unique<CpuReducer>(group, table.floats(), state_buffers(optimizer), job.train.clip_norm);
      const Buffer weights = Buffer::host_floats(table.floats());
      table.initialise(job.seed, weights.floats());
      reducer->load(weights.floats());
    }
    group.barrier();
    replica.bind(reducer->parameters(rank));
    reducer->join(rank, replica);
    group.barrier();
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const StepPlan* plan = &schedule.plan(step);
      if (!planned.empty()) {
        const auto& assignment = planned[static_cast<std::size_t>(step)];
        replica.assign(assignment, step);
        plan = &assignment->plan(step);
      }
      reducer->begin(rank, rule_of(optimizer, step, 0.01));
      replica.run({.step = step, .weights = step});
      reducer->gather(rank);
      reducer->update(rank, *plan);
    }
    group.barrier();
    if (rank != 0) return;
    const Buffer weights = Buffer::host_floats(table.floats());
    reducer->save(weights.floats());
    hash = table.hash(weights.floats());
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < replicas; ++rank) threads.emplace_back(live, rank);
  for (std::thread& thread : threads) thread.join();
  return hash;
}

double cost() {
  return *rc::gen::weightedOneOf<double>(
      {{1, rc::gen::just(kNever)}, {4, rc::gen::map(rc::gen::inRange(1, 20), [](int c) { return c * 0.5; })}});
}

}  // namespace

TEST_CASE("any sequence of assignments gives the same bits") {
  const JobSpec job = read_job_text(kJob, "small.yaml");
  const DatasetPair data = test::memory_pair(97, 20, Shape{2, 6, 6}, 3);  // the last step of an epoch is short
  const std::string wanted = trained(job, data, 1, 0, {});
  CHECK(rc::check("same bits", [&] {
    const int replicas = *rc::gen::inRange(2, 5);
    std::vector<std::vector<double>> assignments;
    for (std::int64_t step = 0; step < kSteps; ++step) {
      std::vector<double> costs;
      for (int r = 0; r < replicas; ++r) costs.push_back(cost());
      costs[static_cast<std::size_t>(*rc::gen::inRange(0, replicas))] = 1;  // somebody is left
      assignments.push_back(costs);
    }
    RC_ASSERT(trained(job, data, replicas, *rc::gen::inRange(0, 2), assignments) == wanted);
  }));
}

TEST_CASE(
    "buffers_for_any_range is enough for every range, and each root is completed once, by the last to write there") {
  for (int count = 1; count <= 40; ++count) {
    for (int first = 0; first < count; ++first) {
      for (int last = first + 1; last <= count; ++last) {
        const ReplicaProgram program = replica_program(count, {first, last});
        CHECK(program.buffers <= buffers_for_any_range(count));
        std::vector<int> completed;
        for (const auto& instruction : program.instructions) {
          for (const int buffer : completed) CHECK(instruction.buffer != buffer);
          if (instruction.completes_root) completed.push_back(instruction.buffer);
        }
        CHECK(completed.size() == program.roots.size());
      }
    }
  }
}

TEST_CASE("allot: equal costs give equal shares, and what is slow gets less") {
  for (int count = 1; count <= 20; ++count) {
    for (int replicas = 1; replicas <= 6; ++replicas) {
      const std::vector<int> shares = allot(count, std::vector<double>(static_cast<std::size_t>(replicas), 3.0));
      for (int r = 0; r < replicas; ++r)
        CHECK(shares[static_cast<std::size_t>(r)] == share(count, replicas, r).count());
    }
  }
  CHECK(allot(16, {1, 2}) == std::vector<int>{11, 5});
  CHECK(allot(16, {2, 1}) == std::vector<int>{5, 11});
  CHECK(allot(16, {1, 1000}) == std::vector<int>{15, 1});
  CHECK(allot(16, {kNever, 1, 1}) == std::vector<int>{0, 8, 8});
  CHECK(allot(1, {2, 1}) == std::vector<int>{0, 1});
}

TEST_CASE("allot: no move of one micro-batch makes the step shorter") {
  CHECK(rc::check("best", [] {
    const int count = *rc::gen::inRange(1, 40);
    const auto costs = *rc::gen::container<std::vector<double>>(
        static_cast<std::size_t>(*rc::gen::inRange(1, 6)),
        rc::gen::map(rc::gen::inRange(1, 100), [](int c) { return static_cast<double>(c); }));
    const std::vector<int> shares = allot(count, costs);
    RC_ASSERT(std::accumulate(shares.begin(), shares.end(), 0) == count);
    double longest = 0;
    for (std::size_t r = 0; r < costs.size(); ++r) {
      if (shares[r] > 1) longest = std::max(longest, shares[r] * costs[r]);  // the one of everybody's stays
    }
    for (std::size_t r = 0; r < costs.size(); ++r) RC_ASSERT((shares[r] + 1) * costs[r] >= longest);
  }));
}

TEST_CASE("the balancer proposes a change at the end of a window, by medians, and only where it is worth it") {
  Balancer balancer(2);
  const std::vector<double> equal{1, 1};
  const std::vector<int> shares{8, 8};
  std::int64_t step = 0;
  for (std::size_t k = 1; k < Balancer::kWindow; ++k) {
    CHECK_FALSE(balancer.stepped(step++, {k % 4 == 0 ? 100.0 : 8.0, 16}, shares, equal));  // outliers do not count
  }
  const auto costs = balancer.stepped(step++, {8, 16}, shares, equal);
  REQUIRE(costs);
  CHECK(*costs == std::vector<double>{1, 2});
  // With 11 + 5 the next window proposes nothing: 11 against 10 is as good as it gets.
  for (std::size_t k = 0; k < Balancer::kWindow; ++k) CHECK_FALSE(balancer.stepped(step++, {11, 10}, {11, 5}, *costs));
  for (std::size_t k = 0; k < Balancer::kWindow; ++k) CHECK_FALSE(balancer.stepped(step++, {8, 8.2}, shares, equal));
}

TEST_CASE("what steps of an older assignment took does not count, whenever it becomes known") {
  Balancer balancer(2);
  const std::vector<double> equal{1, 1};
  const std::vector<int> shares{8, 8};
  const auto half = static_cast<std::int64_t>(Balancer::kWindow / 2), window = 2 * half;
  for (std::int64_t step = 0; step < half; ++step) CHECK_FALSE(balancer.stepped(step, {8, 80}, shares, equal));
  balancer.restart(half + 2);
  for (std::int64_t step = half; step < half + 2; ++step)
    CHECK_FALSE(balancer.stepped(step, {8, 80}, shares, equal));  // the devices were at these still
  for (std::int64_t step = half + 2; step < half + 1 + window; ++step)
    CHECK_FALSE(balancer.stepped(step, {24, 8}, shares, equal));
  const auto costs = balancer.stepped(half + 1 + window, {24, 8}, shares, equal);
  REQUIRE(costs);
  CHECK(*costs == std::vector<double>{3, 1});
  // The run goes back, to steps that come again.
  balancer.restart(2);
  for (std::int64_t step = 2; step < 1 + window; ++step) CHECK_FALSE(balancer.stepped(step, {8, 24}, shares, equal));
  CHECK(balancer.stepped(1 + window, {8, 24}, shares, equal) == std::vector<double>{1, 3});
}

TEST_CASE("the balancer leaves replicas that have failed alone") {
  Balancer balancer(3);
  std::optional<std::vector<double>> costs;
  for (std::size_t k = 0; k < Balancer::kWindow; ++k)
    costs = balancer.stepped(static_cast<std::int64_t>(k), {0, 8, 24}, {0, 8, 8}, {kNever, 1, 1});
  REQUIRE(costs);
  CHECK(*costs == std::vector<double>{kNever, 1, 3});
  CHECK(allot(16, *costs) == std::vector<int>{0, 12, 4});
}

}  // namespace dptrain
