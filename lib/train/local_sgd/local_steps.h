// Purpose: one replica's part of local SGD between two averages: the local steps of its workers.
// Thread safety: a replica's own thread. Invariants: a worker's step is the same whichever replica takes it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/loader.h"
#include "device/buffer.h"
#include "train/local_sgd/local_sgd.h"
#include "train/run.h"

namespace dptrain {

class LocalSteps {
 public:
  /// From step `first` on, in order.
  LocalSteps(Run& run, LocalSgd& local, int rank, Replica& replica, std::int64_t first);

  /// Step `step` of all workers that are this replica's; losses and times go to `told`. Errors: those of the replica.
  void take(std::int64_t step, const ToldStep& told);
  /// False once a loss or a gradient was not finite: the weights are worth nothing then.
  bool finite() const { return !local_.not_finite[static_cast<std::size_t>(rank_)]; }

 private:
  /// The samples of this replica's micro-batches, in the order in which it takes them.
  Loader::Source source(std::int64_t first) const;
  bool update(int worker, std::int64_t step, const ToldStep& told, Replica::Times& times);
  bool gradient(int worker, int micro_batch, std::int64_t step, float* out, const ToldStep& told,
                Replica::Times& times);

  Run& run_;
  LocalSgd& local_;
  int rank_;
  Replica& replica_;
  Range workers_;                         // this replica's
  std::vector<ReplicaProgram> programs_;  // by micro-batches of a slice
  std::vector<Buffer> gradients_;         // of the programs
  std::unique_ptr<Loader> loader_;        // where the replica wants it
  std::int64_t floats_;
  std::int64_t version_;  // of the weights that are used next: each worker's are others after each of its steps
  bool poison_ = false;   // a drill
};

}  // namespace dptrain
