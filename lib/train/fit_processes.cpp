// What the processes of a job agree on before it begins: whether it can be theirs, and who has which replicas.
#include <sched.h>

#include <algorithm>
#include <bitset>
#include <numeric>

#include "core/error.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/fit.h"
#include "train/micro_batches.h"

namespace dptrain {

namespace {

[[noreturn]] void refuse(const SourceMark& at, const std::string& message, const std::string& hint) {
  throw Error(ExitStatus::usage, fmt::format("{}  hint: {}", complaint(at, message), hint));
}

/// Cores for each process, by rank: those that it may run on, and where several of a host may run on the same, its part of them.
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
  if (job.devices.type != DeviceType::cpu && (job.devices.type || !accelerators().usable.empty()))
    refuse(job.devices.at, fmt::format("devices: training on GPUs {}", many), "for CPU cores: --set devices.type=cpu");
}

Placement place(const JobSpec& job, std::int64_t train_samples, Communicator& processes) {
  if (processes.alone()) return place(job, train_samples);
  const int size = processes.size();
  std::vector<int> cores = shares_of_cores(processes);
  JobSpec whole = job;
  whole.devices.type = DeviceType::cpu;
  if (job.devices.count && *job.devices.count < size) {
    refuse(job.devices.at,
           fmt::format("devices.count: {} for {} processes: some would have none", *job.devices.count, size),
           fmt::format("it is the whole job's: use {} or more, or start fewer processes", size));
  }
  std::vector<int> shares;
  if (!job.devices.count) {
    for (const int here : cores)
      shares.push_back(std::max(1, here / static_cast<int>(job.devices.threads_per_replica)));
    const std::int64_t step_samples = std::min(job.train.global_batch_size, train_samples);
    const auto most = [&](std::int64_t replicas) { return most_replicas(job, step_samples, replicas); };
    std::int64_t total = std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
    for (; total > std::max<std::int64_t>(size, most(total)); --total)
      --*std::max_element(shares.begin(), shares.end());
    whole.devices.count = total;
  }
  Placement placement = place(whole, train_samples, Accelerators{});
  if (shares.empty())
    for (int r = 0; r < size; ++r) shares.push_back(share(placement.replicas, size, r).count());
  placement.shares = std::move(shares);
  return placement;
}

}  // namespace dptrain
