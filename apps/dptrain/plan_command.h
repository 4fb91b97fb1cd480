// Purpose: `dptrain plan JOB`: how fast a job would be on other numbers of devices. Thread safety: one call a process.
#pragma once

#include <ostream>
#include <string>

#include "dptrain/job_options.h"

namespace dptrain {

struct PlanCommand {
  JobOptions job;
  std::string devices = "1,2,4,...,64";
  std::string link = "10Gbit,30us";
  double seconds = 3;  ///< of the profile, about; and of the short runs at each number of replicas
  bool measure = false, offline = false, json = false;
};

/// Its options, into `command`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_plan(CLI::App& app, PlanCommand& command);

/// Profiles this machine for some seconds and prints the forecast, or with `json` one object; with `measure` beside it
/// what short runs take, at the numbers of replicas that this machine can run. Errors: usage; data, where the data set
/// is not there.
int plan_job(const PlanCommand& command, std::ostream& out);

}  // namespace dptrain
