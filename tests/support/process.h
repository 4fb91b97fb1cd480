// Purpose: runs programs for tests: arguments, environment and folder in; status and output out. No shell in between.
// Thread safety: none. Invariants: a Process that goes out of scope is killed and reaped; output lies in files, so a
//   program that writes much never waits for the test.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/files.h"

namespace dptrain::test {

struct Finished {
  int status = 0;  ///< as a shell says it: 128 + n where signal n ended it
  std::string out, err;
};

class Process {
 public:
  struct Options {
    fs::path folder = ".";                             ///< to run in
    std::map<std::string, std::string> environment{};  ///< on top of the test's own
  };

  Process(const std::vector<std::string>& command, const Options& options) {
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const fs::path out = files_ / "out", err = files_ / "err";
    id_ = fork();
    if (id_ < 0) throw std::runtime_error("fork failed");
    if (id_ > 0) return;
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::signal(number, SIG_DFL);  // a caller may ignore some
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    const bool ready = chdir(options.folder.c_str()) == 0 && dup2(open("/dev/null", O_RDONLY), 0) >= 0 &&
                       dup2(open(out.c_str(), flags, 0600), 1) >= 0 && dup2(open(err.c_str(), flags, 0600), 2) >= 0;
    if (ready) execvp(arguments[0], arguments.data());
    _exit(127);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (id_ < 0) return;
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }

  pid_t id() const { return id_; }
  void signal(int number) const { ::kill(id_, number); }

  /// Whether the program has a handler of its own for that signal at this moment.
  bool handles(int number) const {
    std::istringstream lines(read_text(fs::path("/proc") / std::to_string(id_) / "status"));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) >> (number - 1) & 1) != 0;
    }
    return false;
  }

  Finished wait() {
    int status = 0;
    waitpid(std::exchange(id_, -1), &status, 0);
    return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), read_text(files_ / "out"),
            read_text(files_ / "err")};
  }

 private:
  TemporaryFolder files_;
  pid_t id_ = -1;
};

inline Finished run(const std::vector<std::string>& command, const Process::Options& options) {
  return Process(command, options).wait();
}

/// Looks again and again until `condition` holds, for a minute at most; returns whether it does.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int k = 0; k < 6000; ++k) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace dptrain::test
