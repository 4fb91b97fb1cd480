// Purpose: the one binary tree in which the gradient sums of a step are added, and how replicas share the additions.
//   T(lo, hi) is g(lo) for one micro-batch; otherwise T(lo, mid) + T(mid, hi), mid = lo + the largest power of two
//   below hi - lo. A replica adds up the maximal subtrees inside its range; the rest is added across replicas. Which
//   replica ran what therefore changes no bit of the sum.
// Thread safety: values, pure functions.
#pragma once

#include <vector>

#include "train/micro_batches.h"

namespace dptrain {

/// Where T(lo, hi) splits; hi - lo is at least 2.
int tree_split(int lo, int hi);

/// What a replica does in a step, in order.
struct ReplicaProgram {
  struct Instruction {
    enum class Kind {
      run,  ///< micro-batch `micro_batch`; its gradient sum into buffer `buffer`
      add,  ///< buffer `buffer` += buffer `buffer` + 1
    } kind;
    int buffer = 0;
    int micro_batch = 0;
    bool completes_root = false;  ///< `buffer` is then a root's, and nothing writes to it any more
  };
  std::vector<Instruction> instructions;
  std::vector<Range> roots;  ///< the maximal subtrees; root k ends up in buffer k
  /// How many are needed at most at a time. With M micro-batches: at most floor(log2 M) + 1 where one replica runs all
  /// of them; at most 2 floor(log2 M), and at least 1, for any other range, which may hold one root a level at each
  /// end.
  int buffers = 0;
};

/// How many micro-batches it runs.
int micro_batches_of(const ReplicaProgram& program);

/// `mine` is a range of the step's `count` micro-batches.
ReplicaProgram replica_program(int count, Range mine);

/// Buffers that are enough for any range of `count` micro-batches.
int buffers_for_any_range(int count);

/// The rest of the tree over the replicas' roots, in postfix order.
struct CombineProgram {
  struct Leaf {
    int replica = 0, buffer = 0;
  };
  static constexpr int kAdd = -1;
  std::vector<Leaf> leaves;
  std::vector<int> postfix;  ///< index into leaves, or kAdd: add the two on top
  int depth = 0;             ///< of the stack that evaluates it
};

CombineProgram combine_program(int count, const std::vector<ReplicaProgram>& programs);
/// The part of it that leads to one node: a root of a group of these replicas that follow each other.
CombineProgram combine_program(Range node, const std::vector<ReplicaProgram>& programs);

}  // namespace dptrain
