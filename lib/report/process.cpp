#include "report/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "core/clock.h"

namespace dptrain {

namespace {

// Not the process's start as the kernel keeps it: a script that ends in `exec dptrain` has the same process, and would have
// its own time counted.
const double loaded_at = steady_seconds();

}  // namespace

std::string version() {
  return DPTRAIN_VERSION;
}

std::int64_t peak_rss_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

double seconds_since_start() {
  return steady_seconds() - loaded_at;
}

void open_closed_standard_streams() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) < 0) open("/dev/null", O_RDWR);  // gets the lowest number that is free: this one
  }
}

void ignore_closed_pipes() {
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace dptrain
