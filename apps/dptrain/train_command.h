// Purpose: `dptrain JOB`: trains. Thread safety: one call a process; it takes over SIGINT, SIGTERM, SIGHUP and
// SIGUSR1 where they are not ignored.
#pragma once

#include <optional>

#include "dptrain/job_options.h"

namespace dptrain {

struct TrainCommand {
  JobOptions job;
  std::string out;               ///< the run folder; empty: runs/<name>/<UTC time>/
  std::string init_from;         ///< a safetensors file with the first weights; empty: from the seed
  std::optional<double> target;  ///< the test accuracy to end at: dptrain/target.h
  bool resume = false, fresh = false, offline = false, quiet = false, json = false;
};

/// Its options, into `command`, which must outlive `app`.
void add_training(CLI::App& app, TrainCommand& command);

/// The exit status of the process: with a target 0 where it was reached, 4 where not. Errors: thrown as Error.
int run_training(const TrainCommand& command);

}  // namespace dptrain
