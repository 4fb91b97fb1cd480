// Purpose: a short profile of this machine for a forecast: the parts of a job's step, by the replicas and the reducer
//   that train it,
//   on its own data, with one replica and with as many as the cores can take.
// Thread safety: one thread; sample() starts its replicas' threads and ends them. Invariants: it trains at a learning
//   rate of 0, so that no loss grows.
#pragma once

#include <vector>

#include "data/dataset.h"
#include "nn/parameters.h"
#include "spec/job_spec.h"
#include "train/fit/fit.h"
#include "train/forecast/forecast.h"

namespace dptrain {

class Profiler {
 public:
  /// Of micro-batches as the job cuts a full step; on `cores` replicas with cores of their own, and where `crowded` is
  /// more on so many,
  /// which share them. All outlive it. Errors: usage, as make_backend().
  Profiler(const JobSpec& job, const DatasetPair& data, int cores, int crowded);

  /// One round of everything, of about so many seconds. What else the machine does comes and goes: several rounds, and
  /// their medians, tell more than a long one. Errors: what a replica throws.
  void sample(double seconds);

  /// Of the rounds so far, at least one.
  MachineProfile profile() const;
  int rounds() const { return static_cast<int>(alone_.size()); }
  /// The share of the replicas' time that other work on this machine took, from 0 to 1: near 0 where it is quiet.
  double lost() const;

 private:
  /// Means over the steps of one burst, in seconds.
  struct Burst {
    double load = 0, micro_batch = 0, add = 0;  ///< each
    double reduce = 0;                          ///< a step, of all replicas together
    double meet = 0, step = 0;
    double on_core = 0;  ///< a step, that its replicas have been on a core, together
    double lost = 0;     ///< the share of their working time in which they were not
  };
  using Bursts = std::vector<Burst>;
  /// A step of a burst: whole micro-batches of one size, but no more of them than tell something.
  int micro_batches_of(int replicas) const;
  Burst burst(int replicas, double seconds) const;
  WorkCosts costs(int replicas, const Bursts& bursts) const;
  void add_crowded(MachineProfile& profile) const;

  const JobSpec& job_;
  const DatasetPair& data_;
  std::int64_t size_ = 0;  // of a micro-batch
  int micro_batches_ = 0;  // of a full step
  int cores_, together_, crowded_;
  Bursts alone_, all_, crowd_;
  std::vector<double> meetings_;  // of as many as the cores, where the job has work for fewer
};

/// Of a full step of this job. `floats` and the optimizer's plan are those of its model.
StepWork step_work(const JobSpec& job, const RunSchedule& schedule, const ParameterTable& table);

}  // namespace dptrain
