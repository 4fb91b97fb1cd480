// Purpose: a short profile of this machine for a forecast: the parts of a job's step, by the replicas and the reducer that train it,
//   on its own data, with one replica and with as many as the cores can take.
// Thread safety: one thread; sample() starts its replicas' threads and ends them. Invariants: it trains at a learning rate of 0, so that no loss grows.
#pragma once

#include <map>
#include <vector>

#include "data/dataset.h"
#include "nn/parameters.h"
#include "spec/job_spec.h"
#include "train/fit.h"
#include "train/forecast/forecast.h"

namespace dptrain {

class Profiler {
 public:
  /// Of micro-batches as the job cuts a full step; on `cores` replicas with cores of their own. `crowded`: numbers of replicas above
  /// them that are asked about. All outlive it. Errors: usage, as make_backend().
  Profiler(const JobSpec& job, const DatasetPair& data, int cores, std::vector<int> crowded);

  /// One round of everything, of about so many seconds. What else the machine does comes and goes: several rounds, and their
  /// medians, tell more than a long one. Errors: what a replica throws.
  void sample(double seconds);

  /// Of the rounds so far, at least one.
  MachineProfile profile() const;
  /// The share of the replicas' time that other work on this machine took, from 0 to 1: near 0 where it is quiet.
  double lost() const;

 private:
  /// Means over the steps of one burst.
  struct Burst {
    double load = 0, micro_batch = 0, add = 0;  ///< seconds, each
    double reduce = 0;                          ///< seconds a step, of all replicas together
    double meet = 0;                            ///< of a step
    double lost = 0;                            ///< the share of their working time that other processes took
  };
  Burst burst(int replicas, double seconds) const;
  WorkCosts costs(int replicas, const std::vector<Burst>& bursts) const;

  const JobSpec& job_;
  const DatasetPair& data_;
  std::int64_t size_ = 0;  // of a micro-batch
  int micro_batches_ = 0;  // of a full step
  int cores_, together_;
  std::vector<int> meeting_;  // numbers of replicas whose meetings are measured by themselves
  std::vector<Burst> alone_, all_;
  std::map<int, std::vector<double>> meetings_;
};

/// Of a full step of this job. `floats` and the optimizer's plan are those of its model.
StepWork step_work(const JobSpec& job, const RunSchedule& schedule, const ParameterTable& table);

}  // namespace dptrain
