// Purpose: `dptrain verify RUN`: trains stretches of a finished or stopped run again, from checkpoint to checkpoint,
//   and compares the weights' hashes; and shows that an epoch uses each sample exactly once. Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace dptrain {

struct VerifyCommand {
  std::string run;                      ///< the run folder
  std::optional<std::int64_t> devices;  ///< replicas to verify with; empty: as the run's job says
  std::string steps;                    ///< "120,240": the checkpoints to reach again; empty: the newest
  bool all = false;                     ///< every one
  bool offline = false;                 ///< download nothing
};

/// Its options, into `command`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_verify(CLI::App& app, VerifyCommand& command);

/// The exit status: 0 where all is as the run left it, 1 where anything differs or a checkpoint is damaged. `say` gets
/// each line as soon as it is known. Drills that cost time and no bit, and the step deadline, are left out.
/// Errors: usage where the folder holds no run, a checkpoint is not of its job, or one that was asked for is not there;
/// failed where no checkpoint can be read.
int verify_run(const VerifyCommand& command, const std::function<void(const std::string&)>& say);

}  // namespace dptrain
