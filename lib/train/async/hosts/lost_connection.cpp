#include "train/async/hosts/lost_connection.h"

#include <chrono>
#include <thread>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

void connection_is_lost(Run& run, int process) {
  constexpr double kNews = 5;  // seconds
  for (const double start = steady_seconds(); !run.group.error() && steady_seconds() - start < kNews;)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const Member& other = run.processes.members()[static_cast<std::size_t>(process)];
  run.group.abort(std::make_exception_ptr(
      Error(ExitStatus::retry, fmt::format("{} has closed its connection: the run is given up", other.name()))));
  throw GroupAborted{};
}

}  // namespace dptrain
