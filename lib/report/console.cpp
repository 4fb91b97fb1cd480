#include "report/console.h"

#include <cstdlib>

#include "report/output.h"

namespace dptrain {

namespace {

class QuietConsole final : public Console {
 public:
  explicit QuietConsole(std::FILE* messages) : messages_(messages) {}
  void started(const RunPlan&) override {}
  void step(const StepReport&) override {}
  void evaluated(const EvalReport&) override {}
  void finished(const Summary&) override {}
  void message(const std::string&) override {}
  void warning(const std::string& text) override { messages_.write("warning: " + without_control_codes(text) + "\n"); }

 private:
  Output messages_;
};

/// https://no-color.org: set and not empty.
bool colour_wanted() {
  const char* no_color = std::getenv("NO_COLOR");
  return no_color == nullptr || *no_color == '\0';
}

}  // namespace

std::unique_ptr<Console> make_quiet_console(std::FILE* messages) {
  return std::make_unique<QuietConsole>(messages);
}

std::unique_ptr<Console> make_console(bool quiet, std::FILE* log, std::FILE* messages) {
  if (quiet) return make_quiet_console(messages);
  if (Output(log).is_terminal()) return make_live_console(log, messages, {.colour = colour_wanted()});
  return make_plain_console(log, messages);
}

}  // namespace dptrain
