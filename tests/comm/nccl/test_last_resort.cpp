// A thread that waits in a library for ever ends its process, with a word; one that comes back does not.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "comm/nccl/last_resort.h"
#include "core/error.h"

using namespace dptrain;

namespace {

/// What becomes of a process that hangs inside the scope, and what it says.
std::pair<int, std::string> hang() {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    const LastResort last_resort(std::chrono::milliseconds(1), "replica 3 does not answer");
    std::this_thread::sleep_for(std::chrono::hours(1));
    _exit(0);
  }
  close(ends[1]);
  std::string said(1000, '\0');
  const ssize_t length = read(ends[0], said.data(), said.size());
  said.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, said};
}

}  // namespace

TEST_CASE("who hangs ends with status 75 and says why") {
  const auto [status, said] = hang();
  CHECK(status == static_cast<int>(ExitStatus::retry));
  CHECK(said == "dptrain: replica 3 does not answer; the process ends, because a GPU does not come back\n");
}

TEST_CASE("who comes back in time goes on") {
  const auto start = std::chrono::steady_clock::now();
  { const LastResort last_resort(std::chrono::hours(1), "nothing"); }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::minutes(1));
}
