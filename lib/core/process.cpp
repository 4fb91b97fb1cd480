#include "core/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "core/clock.h"
#include "core/hash.h"

namespace dptrain {

namespace {

// Not the process's start as the kernel keeps it: a script that ends in `exec dptrain` has the same process, and would
// have its own time counted.
const double loaded_at = steady_seconds();

}  // namespace

std::string version() {
  return DPTRAIN_VERSION;
}

std::string program_hash() {
  // Through the link: the file may have been replaced under its name since.
  const int descriptor = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return "unknown";
  Hash128 hash;
  std::vector<char> piece(256 << 10);
  ssize_t count = 0;
  while ((count = read(descriptor, piece.data(), piece.size())) > 0)
    hash.update(piece.data(), static_cast<std::size_t>(count));
  close(descriptor);
  return count < 0 ? "unknown" : hash.hex();
}

std::string c_library() {
  char text[64] = "unknown";
  confstr(_CS_GNU_LIBC_VERSION, text, sizeof text);
  return text;
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

void fail_instead_of_signals() {
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

}  // namespace dptrain
