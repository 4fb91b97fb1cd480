// Purpose: `dptrain compare JOB`: how long each mode takes to a test accuracy, over several seeds. Thread safety: one
//   call a process; it takes over the signals of dptrain/signals.h.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "dptrain/job_options.h"

namespace dptrain {

struct CompareCommand {
  JobOptions job;
  std::vector<std::string> modes;  ///< empty: all
  double target = 0;               ///< test accuracy, above 0 and at most 1
  std::int64_t seeds = 3;          ///< the job's own, and those that follow it
  std::string out;                 ///< the folder of the runs' folders; empty: runs/<name>/compare-<UTC time>
  bool fresh = false, resume = false, offline = false, quiet = false, json = false;
};

/// Its options, into `command`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_compare(CLI::App& app, CompareCommand& command);

/// Trains each mode with each seed, in turn, each in a process of its own until an evaluation reaches the target or to
/// its end, and prints the table, or with `json` the object that comparison.json holds too; that file is written after
/// every run. The exit status: 0, or 4 where a run does not reach the target; 128 + n where signal n ends it. With
/// `resume` a run that is complete is taken as it is, and another one goes on from its last checkpoint; its seconds of
/// training are those of all its parts.
/// Errors: usage before anything is trained; a run that fails is one that does not reach the target, but one of usage
/// or data ends the comparison.
int compare_modes(const CompareCommand& command, std::ostream& out);

}  // namespace dptrain
