#include <fmt/format.h>

#include "report/console.h"
#include "report/lines.h"
#include "report/output.h"

namespace dptrain {

namespace {

class PlainConsole final : public Console {
 public:
  PlainConsole(std::FILE* log, std::FILE* messages) : log_(log), messages_(messages) {}

  void started(const RunPlan& plan) override {
    plan_ = plan;
    for (const std::string& line : header_lines(plan)) say(line);
  }
  void step(const StepReport& report) override { say(step_line(plan_, report)); }
  void evaluated(const EvalReport& report) override { say(evaluation_line(report)); }
  void finished(const Summary& summary) override {
    for (const std::string& line : end_lines(summary)) say(line);
  }
  void message(const std::string& text) override { messages_.write(without_control_codes(text) + "\n"); }
  void warning(const std::string& text) override { message("warning: " + text); }

 private:
  void say(const std::string& line) { log_.write(without_control_codes(line) + "\n"); }

  Output log_, messages_;
  RunPlan plan_;
};

}  // namespace

std::unique_ptr<Console> make_plain_console(std::FILE* log, std::FILE* messages) {
  return std::make_unique<PlainConsole>(log, messages);
}

}  // namespace dptrain
