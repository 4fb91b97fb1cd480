#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/console.h"
#include "report/lines.h"
#include "report/output.h"

namespace dptrain {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view clear_line = "\r\x1b[K";
constexpr int bar_width = 20;

std::string remaining_text(double seconds) {
  const auto whole = std::llround(seconds);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02} left", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02} left", whole / 60, whole % 60);
}

class LiveConsole final : public Console {
 public:
  LiveConsole(std::FILE* log, std::FILE* messages, const LiveOptions& options)
      : log_(log), messages_(messages), options_(options) {}

  /// A run that ends by an error leaves its last line on the screen: it says how far the run came.
  ~LiveConsole() override {
    if (drawn_) log_.write("\n");
  }

  void started(const RunPlan& plan) override {
    plan_ = plan;
    start_ = Clock::now();
    for (const std::string& line : header_lines(plan)) say(line);
  }

  void step(const StepReport& report) override { live(report); }

  void live(const StepReport& report) override {
    const Clock::time_point now = Clock::now();
    if (drawn_ && report.step < plan_.steps && now - drawn_at_ < options_.interval) return;
    drawn_ = true;
    drawn_at_ = now;
    log_.write(fmt::format("{}{}", clear_line, progress(report, now)));
  }

  void evaluated(const EvalReport& report) override { say(evaluation_line(report)); }

  void finished(const Summary& summary) override {
    for (const std::string& line : end_lines(summary)) say(line, line.starts_with("test accuracy") ? "1" : "");
  }

  void message(const std::string& text) override {
    clear();
    messages_.write(without_control_codes(text) + "\n");
  }

  void warning(const std::string& text) override {
    clear();
    messages_.write(fmt::format("{} {}\n", coloured("33", "warning:"), without_control_codes(text)));
  }

 private:
  /// The step line behind a bar and before the time left. A line that wraps could not be rewritten, so what matters
  /// least goes first where the window is narrow, and stays away until the window is another: parts must not come and
  /// go.
  std::string progress(const StepReport& report, Clock::time_point now) {
    const double done = plan_.steps > 0 ? static_cast<double>(report.step) / static_cast<double>(plan_.steps) : 0;
    const int filled = static_cast<int>(done * bar_width);
    std::string bar = fmt::format("[{}{}]", std::string(filled, '#'), std::string(bar_width - filled, '.')), left;
    if (report.step > plan_.first_step && report.step < plan_.steps) {
      const double seconds = std::chrono::duration<double>(now - start_).count();
      const auto made = static_cast<double>(report.step - plan_.first_step);  // in these seconds
      left = remaining_text(seconds * static_cast<double>(plan_.steps - report.step) / made);
    }
    StepParts parts = step_parts(plan_, report);
    const auto line = [&] {
      std::string text = bar;
      for (const std::string* part : {&parts.step, &parts.epoch, &parts.loss, &parts.lr, &parts.rate, &left}) {
        if (!part->empty()) text += (text.empty() ? "" : part == &parts.step ? " " : "  ") + *part;
      }
      return text;
    };
    const int columns = options_.width > 0 ? options_.width : log_.width();
    const auto width = static_cast<std::size_t>(std::max(columns - 1, 1));
    if (columns != columns_) dropped_ = 0;
    columns_ = columns;
    const std::array by_weight = {&bar, &parts.lr, &parts.epoch, &parts.rate, &parts.loss, &left};
    for (std::size_t k = 0; k < by_weight.size() && (k < dropped_ || line().size() > width); ++k) {
      by_weight[k]->clear();
      dropped_ = std::max(dropped_, k + 1);
    }
    return line().substr(0, width);
  }

  void say(const std::string& line, std::string_view code = "") {
    clear();
    log_.write(coloured(code, without_control_codes(line)) + "\n");
  }

  void clear() {
    if (drawn_) log_.write(clear_line);
    drawn_ = false;
  }

  std::string coloured(std::string_view code, std::string_view text) const {
    return options_.colour && !code.empty() ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
  }

  Output log_, messages_;
  LiveOptions options_;
  RunPlan plan_;
  bool drawn_ = false;  ///< the cursor stands behind a progress line
  Clock::time_point start_, drawn_at_;
  int columns_ = 0;
  std::size_t dropped_ = 0;  ///< parts that the window of so many columns has no room for
};

}  // namespace

std::unique_ptr<Console> make_live_console(std::FILE* log, std::FILE* messages, const LiveOptions& options) {
  return std::make_unique<LiveConsole>(log, messages, options);
}

}  // namespace dptrain
