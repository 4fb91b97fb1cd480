// Purpose: writes a run's checkpoints beside the training: a thread of its own takes snapshots to the disk, and keeps
//   as many of them as the job says.
// Thread safety: save() and finish() belong to one thread. Invariants: at most one snapshot waits; checkpoints appear
//   in order.
#pragma once

#include <condition_variable>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "train/checkpoint/checkpoint.h"

namespace dptrain {

class Checkpointer {
 public:
  /// `warn` is told, on the writing thread, where one cannot be saved: training goes on, and the one before stays. What
  /// it throws is lost.
  Checkpointer(std::filesystem::path run_folder, std::int64_t keep, std::function<void(const std::string&)> warn);
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// Makes a snapshot on the writing thread: what it needs of the run's state is a copy.
  using Make = std::function<Snapshot()>;
  /// Returns at once unless one is still waiting to be written.
  void save(Make make);
  /// Leaves a checkpoint of the run's last state after all others, and waits. Where one of this step was saved already
  /// only the state is written again, else `make` is asked, on this thread. Errors: failed, with file and reason.
  void finish(const RunState& state, const Make& make);

 private:
  void work();
  void write(const Snapshot& snapshot);

  const std::filesystem::path run_folder_;
  const std::int64_t keep_;
  const std::function<void(const std::string&)> warn_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Make> waiting_;
  std::int64_t saved_ = -1;  ///< step of the last one
  bool busy_ = false, over_ = false;
  std::thread thread_;
};

}  // namespace dptrain
