// Purpose: who of one host talks with whom of another, where every process has a slice of something that all hosts have
//   a part in: it gets its slice of each other host's part from one process there, and gives the result to the same
//   one.
// Thread safety: immutable.
#pragma once

#include <vector>

#include "comm/communicator.h"
#include "train/micro_batches.h"

namespace dptrain {

class HostPairs {
 public:
  /// Of the process of this rank.
  HostPairs(const std::vector<Member>& members, int rank);

  /// The processes of each host.
  const std::vector<Range>& hosts() const { return hosts_; }
  std::size_t own() const { return own_; }
  /// Of other hosts, the processes that get this host's part of their slices from this one, and give it their results.
  const std::vector<int>& peers() const { return peers_; }
  /// Of another host, the process that gives this one its part, and takes the result.
  int partner(std::size_t host) const;

 private:
  const int rank_;
  std::vector<Range> hosts_;
  std::size_t own_ = 0;
  std::vector<int> peers_;
};

}  // namespace dptrain
