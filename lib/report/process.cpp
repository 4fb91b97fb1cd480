#include "report/process.h"

#include <sys/resource.h>

#include <csignal>

namespace dptrain {

std::string version() { return DPTRAIN_VERSION; }

std::int64_t peak_rss_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

void ignore_closed_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace dptrain
