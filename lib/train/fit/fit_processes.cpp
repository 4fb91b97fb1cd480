// What the processes of a job agree on before it begins: whether it can be theirs, and who has which replicas.
#include <sched.h>

#include <algorithm>
#include <bitset>
#include <numeric>

#include "core/error.h"
#include "spec/names.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/fit/fit.h"
#include "train/fit/share_gpus.h"
#include "train/micro_batches.h"

namespace dptrain {

namespace {

[[noreturn]] void refuse(const SourceMark& at, const std::string& message, const std::string& hint) {
  throw Error(ExitStatus::usage, fmt::format("{}  hint: {}", complaint(at, message), hint));
}

/// Cores for each process, by rank: those that it may run on, and where several of a host may run on the same, its part
/// of them.
std::vector<int> shares_of_cores(Communicator& processes) {
  using Cores = std::bitset<CPU_SETSIZE>;
  cpu_set_t set;
  CPU_ZERO(&set);
  Cores mine;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (std::size_t core = 0; core < mine.size(); ++core) mine[core] = CPU_ISSET(core, &set);
  std::vector<Cores> all(static_cast<std::size_t>(processes.size()));
  processes.all_gather(&mine, sizeof mine, all.data());
  std::vector<int> shares;
  for (std::size_t r = 0; r < all.size(); ++r) {
    double share = 0;
    for (std::size_t core = 0; core < mine.size(); ++core) {
      if (!all[r][core]) continue;
      int users = 0;
      for (std::size_t other = 0; other < all.size(); ++other)
        users += processes.members()[other].host == processes.members()[r].host && all[other][core] ? 1 : 0;
      share += 1.0 / users;
    }
    shares.push_back(std::max(1, static_cast<int>(share + 1e-6)));
  }
  return shares;
}

void check_count(const JobSpec& job, int processes) {
  if (!job.devices.count || *job.devices.count >= processes) return;
  refuse(job.devices.at,
         fmt::format("devices.count: {} for {} processes: some would have none", *job.devices.count, processes),
         fmt::format("it is the whole job's: use {} or more, or start fewer processes", processes));
}

/// Fewer replicas of those that have most, until all have something to do.
void leave_out_idle(const JobSpec& job, std::int64_t train_samples, std::vector<int>& shares) {
  const std::int64_t step_samples = std::min(job.train.global_batch_size, train_samples);
  const auto most = [&](std::int64_t replicas) { return most_replicas(job, step_samples, replicas); };
  std::int64_t total = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
  for (; total > std::max<std::int64_t>(static_cast<std::int64_t>(shares.size()), most(total)); --total)
    --*std::max_element(shares.begin(), shares.end());
}

/// The same kind of device for all. Errors: usage, with who has none.
bool are_on_gpus(const JobSpec& job, const std::vector<SeenGpus>& seen, const Communicator& processes) {
  const auto without = std::find_if(seen.begin(), seen.end(), [](const SeenGpus& one) { return one.usable.empty(); });
  if (without == seen.end()) return true;
  const bool nobody_has = std::all_of(seen.begin(), seen.end(), [](const SeenGpus& s) { return s.usable.empty(); });
  if (!job.devices.type && nobody_has) return false;
  const auto name = [&](auto one) { return processes.members()[static_cast<std::size_t>(one - seen.begin())].name(); };
  constexpr const char* kOnCores = "for CPU cores in all of them: --set devices.type=cpu";
  if (job.devices.type)
    refuse(job.devices.at,
           fmt::format("the job asks for GPUs, and {} can use none: {}", name(without), without->missing),
           fmt::format("{}; {}", without->remedy, kOnCores));
  const auto with = std::find_if(seen.begin(), seen.end(), [](const SeenGpus& one) { return !one.usable.empty(); });
  refuse(job.devices.at,
         fmt::format("{} can use GPUs, and {} none ({}): a job is on one kind of device", name(with), name(without),
                     without->missing),
         fmt::format("{}; {}", without->remedy, kOnCores));
}

Placement place_on_gpus(const JobSpec& job, std::int64_t train_samples, const std::vector<SeenGpus>& seen,
                        const Communicator& processes) {
  const bool may_share = job.devices.share;
  const GpuShares gpus = share_out_gpus(seen, processes.members(), may_share);
  if (!gpus.problem.empty()) refuse(job.devices.at, gpus.problem, gpus.hint);
  check_count(job, processes.size());
  std::vector<int> shares;
  for (const auto& taken : gpus.taken) shares.push_back(static_cast<int>(taken.size()));
  if (job.devices.count) {
    constexpr int kAny = 1 << 20;
    const int there = std::accumulate(shares.begin(), shares.end(), 0);
    if (*job.devices.count > there && !may_share)
      refuse(job.devices.at,
             fmt::format("the job asks for {} GPUs, and its {} processes have {}", *job.devices.count, processes.size(),
                         there),
             fmt::format("use {} or fewer, or more hosts; what a process sees is what CUDA_VISIBLE_DEVICES leaves it",
                         there));
    shares = deal_out(*job.devices.count, may_share ? std::vector<int>(shares.size(), kAny) : shares);
  } else {
    leave_out_idle(job, train_samples, shares);
  }
  Accelerators by_replica;
  for (std::size_t r = 0; r < shares.size(); ++r) {
    const std::vector<AcceleratorInfo>& taken = gpus.taken[r];
    for (std::size_t k = 0; k < static_cast<std::size_t>(shares[r]); ++k)
      by_replica.usable.push_back(taken[k % taken.size()]);
  }
  JobSpec whole = job;
  whole.devices.type = DeviceType::cuda;
  whole.devices.count = static_cast<std::int64_t>(by_replica.usable.size());
  Placement placement = place(whole, train_samples, by_replica);
  placement.shares = std::move(shares);
  return placement;
}

}  // namespace

Range Placement::replicas_of(int first, int last) const {
  const auto before = std::accumulate(shares.begin(), shares.begin() + first, 0);
  return {before, std::accumulate(shares.begin() + first, shares.begin() + last, before)};
}

int Placement::process_of(int replica) const {
  int process = 0;
  while (replica >= shares[static_cast<std::size_t>(process)]) replica -= shares[static_cast<std::size_t>(process++)];
  return process;
}

Range Placement::replicas_of_host(const Communicator& processes) const {
  const int first = processes.self().host_first;
  int last = first;
  while (last < processes.size() && processes.members()[static_cast<std::size_t>(last)].host_first == first) ++last;
  return replicas_of(first, last);
}

void check_processes_fit(const JobSpec& job, const Communicator& processes) {
  if (processes.alone()) return;
  const std::string many = fmt::format("is for one process, and this job has {}", processes.size());
  if (job.faults.on_replica_failure != OnReplicaFailure::stop)
    refuse(job.faults.on_replica_failure_at, fmt::format("faults.on_replica_failure: continue {}", many),
           "a retry with --resume goes on with fewer processes");
  if (job.balance != Balance::off) refuse(job.balance_at, fmt::format("balance: auto {}", many), "leave it out");
}

Placement place(const JobSpec& job, std::int64_t train_samples, Communicator& processes) {
  if (processes.alone()) return place(job, train_samples);
  const int size = processes.size();
  if (job.devices.type != DeviceType::cpu) {
    const std::vector<SeenGpus> seen = gather_gpus(processes, accelerators());
    if (are_on_gpus(job, seen, processes)) return place_on_gpus(job, train_samples, seen, processes);
  }
  std::vector<int> cores = shares_of_cores(processes);
  JobSpec whole = job;
  whole.devices.type = DeviceType::cpu;
  check_count(job, size);
  std::vector<int> shares;
  if (!job.devices.count) {
    for (const int here : cores)
      shares.push_back(std::max(1, here / static_cast<int>(job.devices.threads_per_replica)));
    leave_out_idle(job, train_samples, shares);
    whole.devices.count = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
  }
  Placement placement = place(whole, train_samples, Accelerators{});
  if (shares.empty())
    for (int r = 0; r < size; ++r) shares.push_back(share(placement.replicas, size, r).count());
  placement.shares = std::move(shares);
  return placement;
}

}  // namespace dptrain
