// Purpose: the one exception type of the project; it carries the exit status that the process shall end with.
// Thread safety: values, like any exception.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace dptrain {

/// What the process tells its caller; scripts rely on the numbers.
enum class ExitStatus : int {
  ok = 0,
  failed = 1,       ///< failed while running
  usage = 2,        ///< command line or job spec
  data = 3,         ///< dataset missing or corrupt
  expectation = 4,  ///< the run ended below what `expect` asks for
  retry = 75,       ///< a peer was lost; worth retrying
};

/// An error for the user: a message that says where, what was expected and what to do, and the exit status.
class Error : public std::runtime_error {
 public:
  Error(ExitStatus status, const std::string& message) : std::runtime_error(message), status_(status) {}
  ExitStatus status() const { return status_; }

 private:
  ExitStatus status_;
};

/// Throws an Error with a formatted message.
template <class... Args>
[[noreturn]] void fail(ExitStatus status, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(status, fmt::format(format, std::forward<Args>(args)...));
}

/// For what callers inside the project must guarantee; a violation is a defect of ours, never of the user's input.
[[noreturn]] void broken_invariant(const char* file, int line, const std::string& what);

#define DPTRAIN_CHECK(condition, ...)                                                            \
  do {                                                                                           \
    if (!(condition)) ::dptrain::broken_invariant(__FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
  } while (false)

}  // namespace dptrain
