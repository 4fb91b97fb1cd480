#include "train/forecast/profile.h"

#include <omp.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>

#include "comm/local/local_group.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/statistics.h"
#include "optim/average.h"
#include "optim/optimizer.h"
#include "train/backend.h"
#include "train/float_mode.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

constexpr double kWarmUp = 0.3;  // of a burst's time
constexpr int kMostEach = 8;     // micro-batches of a replica's step: enough for additions of all kinds, and short

/// `body(rank)` on a thread each; the first error of any ends them all.
template <class Body>
void on_threads(LocalGroup& group, int threads, Body body) {
  std::vector<std::thread> running;
  for (int rank = 0; rank < group.size(); ++rank) {
    running.emplace_back([&, rank] {
      try {
        omp_set_num_threads(threads);
        flush_denormals();
        body(rank);
      } catch (const GroupAborted&) {  // NOLINT(bugprone-empty-catch): another one says why
      } catch (...) {
        group.abort(std::current_exception());
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  if (const std::exception_ptr error = group.error()) std::rethrow_exception(error);
}

/// Seconds of a meeting of so many threads that do nothing else.
double meeting_seconds(int replicas, double seconds) {
  constexpr int kInARow = 20;
  LocalGroup group(replicas);
  std::atomic<bool> over{false};
  double each = 0;
  on_threads(group, 1, [&](int rank) {
    group.barrier();
    const double start = steady_seconds();
    std::int64_t meetings = 0;
    for (bool done = false; !done;) {
      for (int k = 0; k < kInARow; ++k) group.barrier();
      if (rank == 0) over = steady_seconds() - start >= seconds;
      group.barrier();
      done = over;
      group.barrier();
      meetings += kInARow + 2;
    }
    if (rank == 0) each = (steady_seconds() - start) / static_cast<double>(meetings);
  });
  return each;
}

/// What one replica has spent, in all its steps.
struct alignas(64) Spent {
  double load = 0, compute = 0, add = 0, reduce = 0;
  double on_core = 0;  // of all that
};

/// Seconds that this thread has been on a core.
double on_core_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Who runs how many instructions of each kind in a step.
struct Counts {
  std::int64_t runs = 0, adds = 0;
};
Counts counts_of(const StepPlan& plan) {
  using Kind = ReplicaProgram::Instruction::Kind;
  Counts counts;
  for (const ReplicaProgram& program : plan.programs) {
    for (const auto& instruction : program.instructions) ++(instruction.kind == Kind::run ? counts.runs : counts.adds);
  }
  return counts;
}

/// The job whose full steps are so many micro-batches of one size, and never come to an end.
JobSpec endless(const JobSpec& job, std::int64_t size, int micro_batches) {
  JobSpec other = job;
  other.train.micro_batch_size = size;
  other.train.global_batch_size = size * micro_batches;
  other.train.epochs.reset();
  other.train.steps = std::numeric_limits<std::int32_t>::max();
  return other;
}

}  // namespace

Profiler::Profiler(const JobSpec& job, const DatasetPair& data, int cores, int crowded)
    : job_(job), data_(data), cores_(cores) {
  const RunSchedule schedule(job, data.train->size(), 1);
  size_ = schedule.full().micro_batches.front().count;
  micro_batches_ = static_cast<int>(schedule.full().micro_batches.size());
  together_ = std::min(cores, micro_batches_);
  crowded_ = std::min(crowded, micro_batches_);
}

int Profiler::micro_batches_of(int replicas) const {
  return replicas * std::clamp(micro_batches_ / replicas, 1, kMostEach);
}

Profiler::Burst Profiler::burst(int replicas, double seconds) const {
  const JobSpec job = endless(job_, size_, micro_batches_of(replicas));
  // Whole steps only: what is left over at an epoch's end is of another size.
  const std::int64_t global = job.train.global_batch_size, samples = data_.train->size();
  const RunSchedule schedule(job, std::max(samples / global * global, std::min(samples, global)), replicas);
  const StepPlan& plan = schedule.full();
  const std::int64_t batch_floats = schedule.largest_batch() * data_.train->shape().elements();
  const int workers = loader_workers(job, replicas, batch_floats, data_.train->is_costly());
  const auto backend = make_backend(job, {.type = DeviceType::cpu, .replicas = replicas, .gpus = {}});
  const OptimizerSpec& optimizer = job.train.optimizer;

  LocalGroup group(replicas);
  std::vector<std::unique_ptr<Replica>> made(static_cast<std::size_t>(replicas));
  std::unique_ptr<GradientReducer> reducer;
  std::vector<Spent> spent(made.size());
  std::atomic<bool> over{false};
  std::atomic<std::int64_t> warm{-1};  // the step that is the last of the warm-up
  double wall = 0;
  std::int64_t steps = 0;
  on_threads(group, static_cast<int>(job.devices.threads_per_replica), [&](int rank) {
    const auto r = static_cast<std::size_t>(rank);
    made[r] = backend->make_replica({.job = job,
                                     .schedule = schedule,
                                     .data = data_,
                                     .rank = rank,
                                     .replicas = replicas,
                                     .loader_workers = workers});
    Replica& replica = *made[r];
    if (rank == 0) {
      const ParameterTable& table = replica.parameters();
      reducer = backend->make_reducer({.group = group,
                                       .schedule = schedule,
                                       .floats = table.floats(),
                                       .state_buffers = state_buffers(optimizer),
                                       .clip_norm = job.train.clip_norm,
                                       .plan = update_plan(table, job.train)});
      const Buffer weights = Buffer::host_floats(table.floats());
      table.initialise(job.seed, weights.floats());
      reducer->load(weights.floats());
    }
    group.barrier();
    replica.bind(reducer->parameters(rank));
    reducer->join(rank, replica);
    group.barrier();
    // Threads take a moment to get cores of their own, and memory to be touched: that is no part of it.
    double start = 0, on_core = 0;
    std::int64_t first = -1;
    const double began = steady_seconds();
    for (std::int64_t step = 0; !over; ++step) {
      const AverageRule average = job.train.ema ? average_rule(job.train.ema->decay, step) : AverageRule{};
      reducer->begin(rank, {rule_of(optimizer, step, 0), average});
      const Replica::Times computed = replica.run({.step = step, .weights = step});
      reducer->gather(rank);
      if (rank == 0) {
        const double now = steady_seconds();
        if (first < 0 && now - began >= kWarmUp * seconds) warm = step;
        over = first >= 0 && now - start >= seconds;
      }
      const GradientReducer::Times reduced = reducer->update(rank, plan);
      if (first < 0) {
        if (warm < 0) continue;
        first = step;
        start = reduced.end;
        on_core = on_core_seconds();
        continue;
      }
      spent[r].load += computed.data;
      spent[r].compute += computed.compute;
      spent[r].add += computed.reduce;
      spent[r].reduce += reduced.reduce;
      if (rank == 0) {
        wall = reduced.end - start;
        steps = step - first;
      }
    }
    spent[r].on_core = on_core_seconds() - on_core;
  });

  Spent all;
  for (const Spent& s : spent) {
    all.load += s.load;
    all.compute += s.compute;
    all.add += s.add;
    all.reduce += s.reduce;
    all.on_core += s.on_core;
  }
  const Counts counts = counts_of(plan);
  const auto n = static_cast<double>(steps);
  const auto each = [n](double sum, std::int64_t count) {
    return count == 0 ? 0 : sum / n / static_cast<double>(count);
  };
  const double busy = all.load + all.compute + all.add + all.reduce;
  return {.load = each(all.load, counts.runs),
          .micro_batch = each(all.compute, counts.runs),
          .add = each(all.add, counts.adds),
          .reduce = all.reduce / n,
          .meet = std::max(0.0, (wall - busy / replicas) / n),
          .step = wall / n,
          .on_core = all.on_core / n,
          .lost = std::max(0.0, 1 - all.on_core / (busy - all.load))};
}

void Profiler::sample(double seconds) {
  const bool crowds = crowded_ > cores_;
  const double part = seconds / (1 + (together_ > 1 ? 1 : 0) + (crowds ? 1 : 0)) / (1 + kWarmUp);
  alone_.push_back(burst(1, part));
  if (together_ > 1) all_.push_back(burst(together_, part));
  if (crowds) crowd_.push_back(burst(crowded_, part));
  if (together_ < cores_) meetings_.push_back(meeting_seconds(cores_, part / 4));
}

namespace {

template <class Burst>
double middle(const std::vector<Burst>& bursts, double Burst::*part) {
  std::vector<double> values;
  for (const Burst& burst : bursts) values.push_back(burst.*part);
  return median(std::move(values));
}

}  // namespace

WorkCosts Profiler::costs(int replicas, const Bursts& bursts) const {
  return {.replicas = replicas,
          .load = middle(bursts, &Burst::load),
          .micro_batch = middle(bursts, &Burst::micro_batch),
          .add = middle(bursts, &Burst::add),
          .meet = middle(bursts, &Burst::meet)};
}

double Profiler::lost() const {
  Bursts bursts = alone_;
  bursts.insert(bursts.end(), all_.begin(), all_.end());
  return middle(bursts, &Burst::lost);
}

MachineProfile Profiler::profile() const {
  DPTRAIN_CHECK(!alone_.empty(), "a profile before the first round");
  MachineProfile profile{.cores = cores_,
                         .alone = costs(1, alone_),
                         .together = together_ > 1 ? costs(together_, all_) : costs(1, alone_),
                         .update = middle(alone_, &Burst::reduce),
                         .fold = 0,
                         .meet = {}};
  if (together_ > 1) {
    const StepPlan plan = plan_step(micro_batches_of(together_), 1, together_);
    const double more = middle(all_, &Burst::reduce) - profile.update;
    profile.fold = std::max(0.0, more) / static_cast<double>(plan.combine.leaves.size() - 1);
    if (profile.together.add == 0) profile.together.add = profile.alone.add;
  }
  if (!meetings_.empty()) profile.meet[cores_] = profile.alone.meet + 2 * median(meetings_);
  if (!crowd_.empty()) add_crowded(profile);
  return profile;
}

/// How long replicas that share cores keep them busy, against those that do not; and what their step takes beyond that.
void Profiler::add_crowded(MachineProfile& profile) const {
  const StepPlan plan = plan_step(micro_batches_of(crowded_), 1, crowded_);
  const Counts counts = counts_of(plan);
  const WorkCosts& costs = profile.together;
  const double alike = static_cast<double>(counts.runs) * (costs.load + costs.micro_batch) +
                       static_cast<double>(counts.adds) * costs.add + profile.update +
                       static_cast<double>(plan.combine.leaves.size() - 1) * profile.fold;
  profile.crowding = std::max(1.0, middle(crowd_, &Burst::on_core) / alike);
  profile.meet[crowded_] = 0;
  const StepWork work{.micro_batches = static_cast<int>(plan.micro_batches.size())};
  const double rest = middle(crowd_, &Burst::step) - forecast_here(profile, work, crowded_).seconds();
  profile.meet[crowded_] = std::max(0.0, rest);
}

StepWork step_work(const JobSpec& job, const RunSchedule& schedule, const ParameterTable& table) {
  const UpdatePlan plan = update_plan(table, job.train);
  const auto chunks = (table.floats() + GradientReducer::kChunk - 1) / GradientReducer::kChunk;
  const auto parts = plan.matrices.empty() ? chunks : static_cast<std::int64_t>(plan.matrices.size());
  return {.samples = schedule.full().samples,
          .micro_batches = static_cast<int>(schedule.full().micro_batches.size()),
          .floats = table.floats(),
          .update_parts = static_cast<int>(parts)};
}

}  // namespace dptrain
