// Purpose: the tree's sum of a step over several hosts, in the memory of each. A host adds up the maximal subtrees of
//   its micro-batches; every process gets its slice of all hosts' subtrees, adds them in the tree's order, and gives
//   the sum to the other hosts: as many bytes as a ring moves, where each host has one subtree.
// Thread safety: gather() by all replicas' threads of all processes together.
// Invariants: which process adds what changes no bit; nothing is allocated after construction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "comm/local/local_group.h"
#include "train/cpu/host_gradients.h"
#include "train/cpu/host_pairs.h"

namespace dptrain {

class HostSums {
 public:
  /// All arguments outlive it. All processes together.
  HostSums(HostGradients& gradients, LocalGroup& group, std::int64_t floats, std::int64_t chunk);

  /// The sum of a part of the buffer over a program whose leaves are this host's replicas.
  using Sum = std::function<const float*(const CombineProgram& program, std::int64_t offset, std::int64_t count,
                                         float* scratch)>;
  /// Once the gradients of the step are there. Errors: GroupAborted.
  void gather(int rank, const StepPlan& plan, const Sum& sum);
  /// The result, until the next step's gradients are gathered.
  const float* sums() const { return sums_.floats(); }

 private:
  struct Plan {
    std::vector<int> roots;              // by host, how many subtrees
    std::vector<CombineProgram> own;     // by subtree of this host, over its replicas
    CombineProgram across;               // over hosts (`replica` of a leaf) and their subtrees
    std::vector<std::int64_t> sent;      // by peer: where in outgoing_ its part begins
    std::vector<std::int64_t> received;  // by host: likewise in incoming_
    std::int64_t outgoing = 0, incoming = 0;
    std::vector<Message> sends, receives;
  };

  Plan make_plan(const StepPlan& step) const;
  void set_messages(Plan& plan);
  Range slice(int process) const;  // in chunks
  std::int64_t begin(int chunk) const { return std::min<std::int64_t>(chunk * chunk_, floats_); }
  std::int64_t length(Range chunks) const { return begin(chunks.last) - begin(chunks.first); }
  void add_own(int rank, const Plan& plan, const Sum& sum);
  void add_all(int rank, const Plan& plan, const Sum& sum);

  LocalGroup& group_;
  Communicator& processes_;
  const HostPairs pairs_;
  const RunSchedule& schedule_;
  const std::int64_t floats_, chunk_;
  Range replicas_;  // of this process
  std::vector<Range> replicas_of_hosts_;
  Plan full_, last_;
  Buffer outgoing_, incoming_, sums_;
  std::vector<Message> result_sends_, result_receives_;
};

}  // namespace dptrain
