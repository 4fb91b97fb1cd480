// Purpose: what replicas say of their part of a step before they all meet, so that what went wrong is decided once for
//   all; and the list of what has gone wrong. Thread safety: well() and failed() belong to the replica's own thread,
//   before the gather of a step; what is read after it is the same for all; the list is rank 0's.
// Invariants: a replica that has failed stays out for the rest of the run.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "report/records.h"
#include "spec/job_spec.h"
#include "train/fit/fit.h"
#include "train/replica.h"

namespace dptrain {

/// The job asks for nothing that its devices do not do, and its drills are for replicas that there are, and come to an
/// end. Errors: usage.
void check_faults_fit(const JobSpec& job, const Placement& placement);
/// Whether what becomes of a step is decided on the host before its update, where devices could otherwise be ahead of
/// it.
bool host_decides(const JobSpec& job);
/// `faults.step_deadline`; where several processes would wait for each other for good, one that is not set is a minute.
/// Empty: none.
std::optional<double> step_deadline(const JobSpec& job, const Communicator& processes);
/// Whether replicas may get other micro-batches than they began with.
bool may_reassign(const JobSpec& job, int replicas);

class Faults {
 public:
  explicit Faults(int replicas) : health_(static_cast<std::size_t>(replicas)) {}

  /// What a replica that has done well says of its part.
  struct Word {
    double bound = 0;
    bool losses_are_finite = true;
  };
  Word word(int rank) const {
    const Health& health = health_[static_cast<std::size_t>(rank)];
    return {health.bound, health.losses_are_finite};
  }

  /// The replica's part is done; no element of its gradient sums is above `bound`.
  void well(int rank, double bound, bool losses_are_finite);
  void failed(int rank, std::int64_t step, std::exception_ptr error);

  /// Whether anything needs to be settled: not a rank has failed or may have a gradient that is not finite.
  bool any() const;
  bool replica_failed() const;
  bool losses_are_finite() const;
  /// Whether this replica is out, for this step and all that follow.
  bool out(int rank) const { return static_cast<bool>(health_[static_cast<std::size_t>(rank)].error); }
  /// Where no replica is left. Throws the error of one that failed in the step that is being settled, with its name.
  [[noreturn]] void rethrow_newest() const;
  /// Rank 0's, in settling: the replicas that failed in the step that is being settled, from now on an old story.
  std::vector<int> take_failed();
  std::exception_ptr error(int rank) const { return health_[static_cast<std::size_t>(rank)].error; }
  /// When it failed.
  double since(int rank) const { return health_[static_cast<std::size_t>(rank)].since; }

  /// What went wrong in earlier parts of the run comes first. Before the first step.
  void remember(std::vector<FaultReport> history);
  /// Adds to the list; `began` is steady_seconds() of the trouble.
  void note(FaultReport report, double began);
  /// Adds those that failed and were not settled: when no replica's thread is left, and the run with them.
  /// Returns them.
  std::vector<FaultReport> note_unsettled();
  /// Step `step` is done well at `now`: what happened in it or before has been recovered from. Returns that.
  std::vector<FaultReport> recovered(std::int64_t step, double now);
  const std::vector<FaultReport>& list() const { return list_; }

 private:
  struct alignas(64) Health {
    std::exception_ptr error;  // set once
    bool news = false;         // the error is not settled yet
    std::int64_t step = 0;     // of the error
    double since = 0;
    double bound = 0;
    bool losses_are_finite = true;
  };
  std::vector<Health> health_;
  std::vector<FaultReport> list_;
  std::vector<double> began_;  // by entry of the list
  std::size_t recovered_ = 0;  // entries that are
};

/// The error of a replica with its name, of the same status.
Error replica_error(int rank, std::int64_t step, const std::exception_ptr& error);

}  // namespace dptrain
