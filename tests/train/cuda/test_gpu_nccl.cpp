// The reducer over NCCL on one GPU: a double of NCCL lets several ranks share it, which NCCL itself refuses. The same sources as
// with a GPU each: buckets, external events of recorded steps, exchange in the tree's order.
#include <doctest/doctest.h>

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

/// The steps of a run without its reports: `replicas` of them on GPU 0.
std::string hash_over_nccl(const JobSpec& job, int replicas) {
  const DatasetPair data = memory_pair(43, 70, kShape, 3);
  const RunSchedule schedule(job, data.train->size(), replicas);
  const OptimizerSpec& optimizer = job.train.optimizer;
  const Schedule rate(job.train.schedule, base_lr(job.train.optimizer), schedule.steps(), schedule.steps_per_epoch());
  LocalGroup group(replicas);
  std::vector<std::unique_ptr<Replica>> all(static_cast<std::size_t>(replicas));
  std::unique_ptr<NcclReducer> reducer;
  std::vector<LossSum> losses(schedule.full().micro_batches.size());
  std::string hash;
  const auto live = [&](int rank) {
    auto& replica = all[static_cast<std::size_t>(rank)];
    replica = std::make_unique<CudaReplica>(
        Replica::Config{.job = job, .schedule = schedule, .data = data, .rank = rank, .replicas = replicas}, 0,
        CudaReplica::Resident{});
    const ParameterTable& table = replica->parameters();
    if (rank == 0) {
      reducer = std::make_unique<NcclReducer>(ReducerConfig{.group = group,
                                                            .schedule = schedule,
                                                            .floats = table.floats(),
                                                            .state_buffers = state_buffers(optimizer),
                                                            .clip_norm = job.train.clip_norm,
                                                            .plan = update_plan(table, job.train)},
                                              NcclReducer::Options{.devices = std::vector<int>(all.size(), 0)});
      const Buffer weights = Buffer::host_floats(table.floats());
      table.initialise(job.seed, weights.floats());
      reducer->load(weights.floats());
      if (job.train.ema) reducer->load_state(state_buffers(optimizer), weights.floats());
    }
    group.barrier();
    replica->bind(reducer->parameters(rank));
    reducer->join(rank, *replica);
    group.barrier();
    for (std::int64_t step = 0; step < schedule.steps(); ++step) {
      reducer->begin(rank, {rule_of(optimizer, step, rate.lr(step)),
                            job.train.ema ? average_rule(job.train.ema->decay, step) : AverageRule{}});
      replica->run({.step = step, .weights = step});
      if (step > 0) replica->collect(step - 1, losses);
      reducer->gather(rank);
      reducer->update(rank, schedule.plan(step));
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

}  // namespace dptrain
