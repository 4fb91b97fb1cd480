#include "dptrain/job_data.h"

#include <iostream>

#include "dptrain/signals.h"

namespace dptrain {

DataOptions data_options(const JobSpec& job, const StopRequest& stop, bool offline) {
  return {.offline = offline,
          .progress = [](const std::string& line) { std::cerr << line << '\n'; },
          .stop = &stop,
          .cache_bytes = job.data.cache_bytes,
          .unpack_bytes = job.data.unpack_bytes};
}

DatasetInfo inspect_data(const JobSpec& job) {
  return stoppable(
      [&](const StopRequest& stop) { return inspect_dataset(job.dataset, data_options(job, stop, true)); });
}

DatasetPair open_data(const JobSpec& job, bool offline, const DatasetInfo& known) {
  return stoppable(
      [&](const StopRequest& stop) { return open_dataset(job.dataset, data_options(job, stop, offline), known); });
}

}  // namespace dptrain
