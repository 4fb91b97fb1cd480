// Purpose: `dptrain verify RUN`: trains stretches of a finished or stopped run again, from checkpoint to checkpoint, and compares
//   the weights' hashes; and shows that an epoch uses each sample exactly once. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace dptrain {

struct VerifyCommand {
  std::string run;                      ///< the run folder
  std::optional<std::int64_t> devices;  ///< replicas to verify with; empty: as the run's job says
  bool all = false;                     ///< every stretch between checkpoints, not only the newest
};

/// The exit status: 0 where all is as the run left it, 1 where anything differs.
/// Errors: usage where the folder holds no run, failed where no checkpoint can be read.
int verify_run(const VerifyCommand& command, std::ostream& out);

}  // namespace dptrain
