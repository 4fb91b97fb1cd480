// Purpose: `dptrain JOB`: trains. Thread safety: one call a process; it takes over SIGINT, SIGTERM, SIGHUP and
// SIGUSR1 where they are not ignored.
#pragma once

#include "dptrain/job_options.h"

namespace dptrain {

struct TrainCommand {
  JobOptions job;
  std::string out;        ///< the run folder; empty: runs/<name>/<UTC time>/
  std::string init_from;  ///< a safetensors file with the first weights; empty: from the seed
  bool resume = false, fresh = false, offline = false, quiet = false, json = false;
};

/// The exit status of the process. Errors: thrown as Error.
int run_training(const TrainCommand& command);

}  // namespace dptrain
