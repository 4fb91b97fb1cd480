#include "dptrain/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/error.h"

namespace dptrain {

namespace {

constexpr std::array kStopSignals = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
constexpr const char* kErrorMark = "dptrain: ";  // main() puts it before the error that ends a process

/// Keeps the signals that ask for an end off until it goes.
class HeldSignals {
 public:
  HeldSignals() {
    sigset_t held;
    sigemptyset(&held);
    for (const int signal : kStopSignals) sigaddset(&held, signal);
    sigprocmask(SIG_BLOCK, &held, &before_);
  }
  ~HeldSignals() { release(); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  void release() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

/// The new process, up to its exec: calls that are safe after a fork alone.
[[noreturn]] void become(char* const* arguments, int errors, pid_t parent, HeldSignals& held) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  // A handler of the parent's would take a signal and tell nobody. What is ignored stays so, but for the one that
  // run_child() sends.
  for (const int signal : kStopSignals) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler != SIG_IGN || signal == SIGUSR1) ::signal(signal, SIG_DFL);
  }
  held.release();
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(nothing, 1) >= 0 && dup2(errors, 2) >= 0)
    execv("/proc/self/exe", arguments);
  _exit(127);
}

/// Cuts what comes into lines, and tells those that are said on the way from the error at the end.
class ErrorLines {
 public:
  explicit ErrorLines(const std::function<void(const std::string&)>& say) : say_(say) {}

  void add(std::string_view bytes) {
    partial_ += bytes;
    for (std::size_t end; (end = partial_.find('\n')) != std::string::npos; partial_.erase(0, end + 1))
      take(partial_.substr(0, end));
  }
  std::string finish() {
    if (!partial_.empty()) take(partial_);
    constexpr std::string_view kWarning = "warning: ";
    if (error_.empty()) error_ = last_.starts_with(kWarning) ? last_.substr(kWarning.size()) : last_;
    return error_;
  }

 private:
  void take(const std::string& line) {
    if (line.starts_with(kErrorMark)) {
      error_ = line.substr(std::strlen(kErrorMark));
    } else if (!error_.empty()) {
      error_ += "\n";
      error_ += line;
    } else {
      last_ = line;
      say_(line);
    }
  }

  const std::function<void(const std::string&)>& say_;
  std::string partial_, last_, error_;
};

/// Reads until the other end is closed; passes a request to stop on.
void listen(pid_t child, int from, const StopRequest& stop, ErrorLines& lines) {
  constexpr int kLookMilliseconds = 100;  // for a signal that comes right before poll(), which it would interrupt
  bool told = false;
  std::array<char, 4096> piece{};
  for (;;) {
    if (!told && stop_asked(&stop)) {
      kill(child, SIGUSR1);
      told = true;
    }
    pollfd waiting{.fd = from, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, kLookMilliseconds) <= 0) continue;
    const ssize_t count = read(from, piece.data(), piece.size());
    if (count > 0) lines.add({piece.data(), static_cast<std::size_t>(count)});
    if (count == 0 || (count < 0 && errno != EINTR)) return;
  }
}

}  // namespace

ChildEnd run_child(const std::vector<std::string>& arguments, const StopRequest& stop,
                   const std::function<void(const std::string&)>& say) {
  std::vector<std::string> words{"dptrain"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) fail(ExitStatus::failed, "cannot make a pipe: {}", std::strerror(errno));
  pid_t child = -1;
  {
    HeldSignals held;
    const pid_t self = getpid();
    child = fork();
    if (child == 0) become(argv.data(), ends[1], self, held);
  }
  const int reason = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    fail(ExitStatus::failed, "cannot start a process: {}", std::strerror(reason));
  }
  ErrorLines lines(say);
  listen(child, ends[0], stop, lines);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  ChildEnd end;
  end.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  std::string error = lines.finish();
  if (WIFSIGNALED(status)) {
    end.error = fmt::format("ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  } else if (end.status != 0) {
    end.error = error.empty() ? fmt::format("ended with status {}", end.status) : std::move(error);
  }
  return end;
}

}  // namespace dptrain
