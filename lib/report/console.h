// Purpose: what a run says while it goes on. The log goes to standard output, messages and warnings to standard error.
// Thread safety: one user at a time (Reporter sees to it). Invariants: nothing here fails: what cannot be written is
//   dropped.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "report/records.h"

namespace dptrain {

class Console {
 public:
  virtual ~Console() = default;
  virtual void started(const RunPlan& plan) = 0;
  /// A log interval is over.
  virtual void step(const StepReport& report) = 0;
  /// The news of an interval that goes on, as often as the caller likes: for a line that is rewritten.
  virtual void live(const StepReport&) {}
  virtual void evaluated(const EvalReport& report) = 0;
  virtual void finished(const Summary& summary) = 0;
  /// News that is no part of the log, such as a download's progress; may hold several lines.
  virtual void message(const std::string& text) = 0;
  virtual void warning(const std::string& text) = 0;
};

/// One line an interval and no control codes: for pipes, files, schedulers.
std::unique_ptr<Console> make_plain_console(std::FILE* log, std::FILE* messages);

struct LiveOptions {
  bool colour = true;                      ///< off where NO_COLOR is set
  int width = 0;                           ///< columns; 0: ask the terminal each time, so that resizing works
  std::chrono::milliseconds interval{50};  ///< the line is redrawn no more often than this
};
/// A progress line that is rewritten in place and cleared before anything else is said: for terminals.
std::unique_ptr<Console> make_live_console(std::FILE* log, std::FILE* messages, const LiveOptions& options);

/// No log: for --quiet and --json. Warnings are still given; messages are not.
std::unique_ptr<Console> make_quiet_console(std::FILE* messages);

/// The one that fits: quiet where asked for, live where `log` is a terminal, otherwise plain.
std::unique_ptr<Console> make_console(bool quiet, std::FILE* log, std::FILE* messages);

}  // namespace dptrain
