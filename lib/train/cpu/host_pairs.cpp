#include "train/cpu/host_pairs.h"

namespace dptrain {

HostPairs::HostPairs(const std::vector<Member>& members, int rank) : rank_(rank) {
  for (int r = 0; r < static_cast<int>(members.size()); ++r) {
    if (members[static_cast<std::size_t>(r)].host_first == r) hosts_.push_back({r, r});
    hosts_.back().last = r + 1;
    if (r == rank) own_ = hosts_.size() - 1;
  }
  // The processes of a host share out their peers on each other one.
  const Range here = hosts_[own_];
  for (const Range& there : hosts_) {
    if (there == here) continue;
    for (int p = there.first + rank_ - here.first; p < there.last; p += here.count()) peers_.push_back(p);
  }
}

int HostPairs::partner(std::size_t host) const {
  const Range there = hosts_[host];
  return there.first + (rank_ - hosts_[own_].first) % there.count();
}

}  // namespace dptrain
