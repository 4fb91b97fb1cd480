#include "train/fit/share_gpus.h"

#include <algorithm>
#include <set>

#include "train/micro_batches.h"

namespace dptrain {

namespace {

/// An AcceleratorInfo on its way.
struct Card {
  std::int32_t device, compute_major, compute_minor;
  std::int64_t memory_bytes;
  char name[96], id[40];
};

Card card_of(const AcceleratorInfo& gpu) {
  Card card{.device = gpu.device,
            .compute_major = gpu.compute_major,
            .compute_minor = gpu.compute_minor,
            .memory_bytes = gpu.memory_bytes,
            .name = {},
            .id = {}};
  gpu.name.copy(card.name, sizeof card.name - 1);
  gpu.id.copy(card.id, sizeof card.id - 1);
  return card;
}

AcceleratorInfo gpu_of(const Card& card) {
  return {.device = card.device,
          .name = card.name,
          .compute_major = card.compute_major,
          .compute_minor = card.compute_minor,
          .memory_bytes = card.memory_bytes,
          .id = card.id};
}

std::set<std::string> ids_of(const SeenGpus& seen) {
  std::set<std::string> ids;
  for (const AcceleratorInfo& gpu : seen.usable) ids.insert(gpu.id);
  return ids;
}

/// With the number that this process has for it.
const AcceleratorInfo& as_seen(const SeenGpus& seen, const std::string& id) {
  return *std::find_if(seen.usable.begin(), seen.usable.end(), [&](const auto& gpu) { return gpu.id == id; });
}

bool overlap(const std::set<std::string>& a, const std::set<std::string>& b) {
  return std::any_of(a.begin(), a.end(), [&](const std::string& id) { return b.contains(id); });
}

}  // namespace

std::vector<SeenGpus> gather_gpus(Communicator& processes, const Accelerators& mine) {
  struct Head {
    std::int32_t count;
    char missing[1000], remedy[500];
  };
  const auto size = static_cast<std::size_t>(processes.size());
  Head head{.count = static_cast<std::int32_t>(mine.usable.size()), .missing = {}, .remedy = {}};
  mine.missing.copy(head.missing, sizeof head.missing - 1);
  mine.remedy.copy(head.remedy, sizeof head.remedy - 1);
  std::vector<Head> heads(size);
  processes.all_gather(&head, sizeof head, heads.data());
  std::size_t most = 0;
  for (const Head& one : heads) most = std::max(most, static_cast<std::size_t>(one.count));
  std::vector<Card> own(most), all(most * size);
  std::transform(mine.usable.begin(), mine.usable.end(), own.begin(), card_of);
  if (most > 0) processes.all_gather(own.data(), most * sizeof(Card), all.data());
  std::vector<SeenGpus> seen(size);
  for (std::size_t r = 0; r < size; ++r) {
    for (std::size_t k = 0; k < static_cast<std::size_t>(heads[r].count); ++k)
      seen[r].usable.push_back(gpu_of(all[r * most + k]));
    seen[r].missing = heads[r].missing;
    seen[r].remedy = heads[r].remedy;
  }
  return seen;
}

GpuShares share_out_gpus(const std::vector<SeenGpus>& seen, const std::vector<Member>& members, bool may_share) {
  GpuShares shares;
  shares.taken.resize(seen.size());
  std::vector<std::set<std::string>> ids;
  for (const SeenGpus& one : seen) ids.push_back(ids_of(one));
  for (std::size_t first = 0; first < seen.size(); ++first) {
    std::vector<std::size_t> group;  // those that see the same
    for (std::size_t r = 0; r < seen.size(); ++r) {
      if (ids[r] == ids[first]) {
        group.push_back(r);
      } else if (overlap(ids[r], ids[first])) {
        shares.problem =
            fmt::format("{} and {} see some GPUs both, and others not", members[first].name(), members[r].name());
        shares.hint = "give the processes of a host the same CUDA_VISIBLE_DEVICES, or each GPUs of its own";
        return shares;
      }
    }
    if (group.front() != first) continue;  // dealt with
    const std::vector<AcceleratorInfo>& gpus = seen[first].usable;
    const int there = static_cast<int>(gpus.size()), wanted = static_cast<int>(group.size());
    if (there < wanted && !may_share) {
      shares.problem = fmt::format("{} processes on {} have {} GPU{} between them: two would be on one", wanted,
                                   members[first].host, there, there == 1 ? "" : "s");
      shares.hint = fmt::format("start {} there; what each sees is what CUDA_VISIBLE_DEVICES leaves it", there);
      return shares;
    }
    for (int k = 0; k < wanted; ++k) {
      const Range part = there < wanted ? Range{k % there, k % there + 1} : share(there, wanted, k);
      const std::size_t process = group[static_cast<std::size_t>(k)];
      for (int g = part.first; g < part.last; ++g)
        shares.taken[process].push_back(as_seen(seen[process], gpus[static_cast<std::size_t>(g)].id));
    }
  }
  return shares;
}

std::vector<int> deal_out(std::int64_t count, const std::vector<int>& room) {
  std::vector<int> shares(room.size(), 0);
  for (; count > 0; --count) {
    std::size_t best = room.size();
    for (std::size_t r = 0; r < room.size(); ++r)
      if (shares[r] < room[r] && (best == room.size() || shares[r] < shares[best])) best = r;
    if (best == room.size()) break;
    ++shares[best];
  }
  return shares;
}

}  // namespace dptrain
