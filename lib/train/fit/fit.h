// Purpose: whether a job, the data and this machine fit each other, and what is chosen where the job leaves it open.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "core/shape.h"
#include "device/accelerators.h"
#include "spec/job_spec.h"
#include "train/schedule.h"

namespace dptrain {

/// Cores this process may run on; a scheduler or a container may have taken some away.
int usable_cores();

/// Where the replicas of a run are.
struct Placement {
  DeviceType type = DeviceType::cpu;
  int replicas = 1;  ///< of the whole job
  /// How many each process has, in order of rank; they follow each other as the processes do.
  std::vector<int> shares{1};
  std::vector<AcceleratorInfo> gpus;  ///< by replica, the same one several times where they share it; empty on the CPU

  /// Those of processes [first, last).
  Range replicas_of(int first, int last) const;
  Range replicas_of(int process) const { return replicas_of(process, process + 1); }
  int process_of(int replica) const;
  /// Those of this process's host.
  Range replicas_of_host(const Communicator& processes) const;
};

/// The job's `devices` on this machine. `type: auto` takes GPUs where there is one to use, else CPU cores. `count:
/// auto` is one replica for every GPU or core, but no more than there are micro-batches. Replicas that share GPUs are
/// placed in turn.
/// Errors: usage, where there are fewer GPUs than the job asks for, where it asks for a precision that they do not
/// have, or, in mode sync, where there are more replicas than micro-batches; each says what is missing and how to go
/// on.
Placement place(const JobSpec& job, std::int64_t train_samples, const Accelerators& machine);
Placement place(const JobSpec& job, std::int64_t train_samples);
/// The same for all processes of a job together: `count` is the whole job's and shared out over them; `auto` is what
/// each can see, of its host's cores its share. Errors: usage, also where some would have nothing to do.
Placement place(const JobSpec& job, std::int64_t train_samples, Communicator& processes);

/// The job asks for nothing that several processes do not do. Errors: usage.
void check_processes_fit(const JobSpec& job, const Communicator& processes);

/// How many can have something to do in a step of so many samples; `replicas` is how many there would be.
std::int64_t most_replicas(const JobSpec& job, std::int64_t step_samples, std::int64_t replicas);

/// How many replicas the job gets by itself: those of place(). Errors: as there.
int replica_count(const JobSpec& job, std::int64_t train_samples);

/// Threads that load ahead of each replica: what `data.workers` says. For `auto` one where every replica has a spare
/// core and a batch of `batch_floats` takes longer to load than a thread to wake; where loading is costly (decoding,
/// augmentation) as many as there are spare cores, at most eight. On a full machine a worker only takes turns with its
/// replica, which costs more than it hides.
int loader_workers(const JobSpec& job, int replicas, std::int64_t batch_floats, bool is_costly);
/// Dataset::is_costly() of the training set, before that is opened. Errors: unknown name (usage).
bool is_costly_to_load(const DatasetSpec& dataset);

/// The data fit the model: sample shape and number of classes. Errors: usage, with the spec's lines.
void check_data_fit(const JobSpec& job, const Shape& sample, std::int64_t classes);

/// Every micro-batch that will occur, or step, is large enough for batch norms. Errors: usage, with the spec's lines.
void check_batches_fit(const JobSpec& job, const RunSchedule& schedule);

}  // namespace dptrain
