// Purpose: the options that describe a job on the command line, shared by every command that reads one.
// Thread safety: one thread.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "spec/reader.h"

namespace dptrain {

struct JobOptions {
  std::string file;
  std::vector<Override> overrides;  ///< in the order given
};

/// Adds JOB, --set, --mode, --seed. `options` must outlive `app`.
void add_spec_options(CLI::App& app, JobOptions& options);
/// Adds --devices and --gpus, too.
void add_job_options(CLI::App& app, JobOptions& options);

}  // namespace dptrain
