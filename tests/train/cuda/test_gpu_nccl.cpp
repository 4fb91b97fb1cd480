// The reducer over NCCL on one GPU: a double of NCCL lets several ranks share it, which NCCL itself refuses. The same
// sources as with a GPU each: buckets, external events of recorded steps, exchange in the tree's order.
#include <doctest/doctest.h>

#include <map>
#include <thread>

#include "optim/average.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "train/cuda/cuda_replica.h"
#include "train/cuda/nccl_reducer.h"
#include "train/cuda/small_jobs.h"
#include "train/update_plan.h"

namespace dptrain {

using namespace test;

namespace {

/// The steps of a run without its reports: `replicas` of them on GPU 0. Where there are `costs`, each is who runs what
/// from a step on, and buckets are as small as they can be, so that even a small model has several.
std::string hash_over_nccl(const JobSpec& job, int replicas,
                           const std::map<std::int64_t, std::vector<double>>& costs = {}) {
  const DatasetPair data = memory_pair(43, 70, kShape, 3);
  const RunSchedule schedule(job, data.train->size(), replicas);
  const OptimizerSpec& optimizer = job.train.optimizer;
  const Schedule rate(job.train.schedule, base_lr(job.train.optimizer), schedule.steps(), schedule.steps_per_epoch());
  LocalGroup group(replicas);
  std::vector<std::unique_ptr<Replica>> all(static_cast<std::size_t>(replicas));
  std::unique_ptr<NcclReducer> reducer;
  std::vector<LossSum> losses(schedule.full().micro_batches.size());
  std::string hash;
  std::map<std::int64_t, std::shared_ptr<const Assignment>> assignments{{0, equal_shares(schedule, replicas)}};
  for (const auto& [step, of] : costs) assignments[step] = std::make_shared<const Assignment>(schedule, of);
  NcclReducer::Options options{.devices = std::vector<int>(all.size(), 0)};
  if (!costs.empty()) options.bucket_floats = GradientReducer::kChunk;
  const auto live = [&](int rank) {
    auto& replica = all[static_cast<std::size_t>(rank)];
    replica = std::make_unique<CudaReplica>(Replica::Config{.job = job,
                                                            .schedule = schedule,
                                                            .data = data,
                                                            .rank = rank,
                                                            .replicas = replicas,
                                                            .reassigned = !costs.empty()},
                                            0, CudaReplica::Resident{});
    const ParameterTable& table = replica->parameters();
    if (rank == 0) {
      reducer = std::make_unique<NcclReducer>(ReducerConfig{.group = group,
                                                            .schedule = schedule,
                                                            .floats = table.floats(),
                                                            .state_buffers = state_buffers(optimizer),
                                                            .clip_norm = job.train.clip_norm,
                                                            .plan = update_plan(table, job.train),
                                                            .reassigned = !costs.empty()},
                                              options);
      const Buffer weights = Buffer::host_floats(table.floats());
      table.initialise(job.seed, weights.floats());
      reducer->load(weights.floats());
      if (job.train.ema) reducer->load_state(state_buffers(optimizer), weights.floats());
    }
    group.barrier();
    replica->bind(reducer->parameters(rank));
    reducer->join(rank, *replica);
    group.barrier();
    std::shared_ptr<const Assignment> now;
    for (std::int64_t step = 0; step < schedule.steps(); ++step) {
      if (const auto found = assignments.find(step); found != assignments.end()) {
        now = found->second;
        if (!costs.empty()) replica->assign(now, step);
      }
      reducer->begin(rank, {rule_of(optimizer, step, rate.lr(step)),
                            job.train.ema ? average_rule(job.train.ema->decay, step) : AverageRule{}});
      replica->run({.step = step, .weights = step});
      if (step > 0) replica->collect(step - 1, losses);
      reducer->gather(rank);
      reducer->update(rank, now->plan(step));
    }
    replica->collect(schedule.steps() - 1, losses);
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

}  // namespace

TEST_CASE("two and three ranks over NCCL give the weights of one replica") {
  for (const Case& c : kCases) {
    CAPTURE(std::string(c.name));
    const JobSpec job = job_of(c, "{type: cuda, count: 1}");
    const std::string wanted = run(job).weights_hash;
    for (const int replicas : {2, 3}) CHECK(hash_over_nccl(job, replicas) == wanted);
  }
}

TEST_CASE("ranks over NCCL whose micro-batches move give the weights of one replica") {
  const Case deep{"buckets that end within layers", "[flatten, {linear: 70}, relu, {linear: 30}, relu, {linear: 3}]",
                  "micro_batch_size: 2, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}"};
  for (const Case& c : {deep, kCases[0], kCases[6]}) {
    CAPTURE(std::string(c.name));
    const JobSpec job = job_of(c, "{type: cuda, count: 1}");
    const std::string wanted = run(job).weights_hash;
    // Before steps are recorded, between such as are, and back; a short step is the first of an assignment, too.
    CHECK(hash_over_nccl(job, 2, {{1, {1, 3}}, {4, {9, 1}}, {7, {1, 1}}}) == wanted);
    CHECK(hash_over_nccl(job, 3, {{2, {1, 4, 2}}, {3, {3, 1, 1}}, {5, {1, 1, 30}}}) == wanted);
  }
}

}  // namespace dptrain
