// Purpose: what the processes of a job do together before and after it trains: one fails, and all end alike; what they
//   must have in common is held against the first one's. A process by itself agrees with itself at once.
// Thread safety: one thread of each process, all of them together.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "core/stop.h"
#include "data/dataset.h"
#include "dptrain/signals.h"
#include "spec/job_spec.h"
#include "train/fit/fit.h"

namespace dptrain {

/// Thrown in all processes: the first one says it.
class AgreedError : public Error {
 public:
  using Error::Error;
};

/// What came of a process's part; all are told of the first that went wrong. Errors: AgreedError, Stopped.
struct PartOutcome {
  std::optional<Error> error{};
  bool stopped = false;
};
void agree_on(Communicator& processes, const PartOutcome& mine);

/// `part` in every process. Errors: AgreedError where one of them throws an Error, with its name; Stopped.
template <class Part>
auto agree(Communicator& processes, Part&& part) {
  if (processes.alone()) return part();
  std::optional<decltype(part())> result;
  PartOutcome mine;
  try {
    result.emplace(part());
  } catch (const Error& error) {
    mine.error = error;
  } catch (const Stopped&) {
    mine.stopped = true;
  }
  agree_on(processes, mine);
  return std::move(*result);
}

/// The first process's text, to all; of at most 4096 bytes.
std::string from_first(Communicator& processes, const std::string& text);
inline std::int64_t from_first(Communicator& processes, std::int64_t number) {
  return processes.alone() ? number : std::stoll(from_first(processes, std::to_string(number)));
}

/// All processes have the same program and the same resolved job. Errors: AgreedError that names one that has not.
void check_same_job(Communicator& processes, const JobSpec& job);
/// And the same versions of what computes and of NCCL, and, where the bits matter, the same kind of processor.
/// Likewise.
void check_same_devices(Communicator& processes, const JobSpec& job, const Placement& placement);
/// And the same samples: all of those that lie in memory as bytes, of others some, from all over. Likewise.
void check_same_data(Communicator& processes, const DatasetPair& data);

/// Joins the others where a launcher has started this process, runs `body`, and ends all alike: with the first
/// process's status, or where one fails, with its. One process says why, on standard error. Errors: those of a process
/// by itself.
int run_together(const std::function<int(Communicator&)>& body);
/// For commands of one process. Errors: usage where a launcher has started several.
void refuse_several_processes(const std::string& command);

}  // namespace dptrain
