#include "report/reporter.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "core/clock.h"
#include "core/error.h"
#include "report/json.h"
#include "report/lines.h"

namespace dptrain {

Reporter::Reporter() : console_(make_quiet_console(stderr)) {}

Reporter::Reporter(const ReportOptions& options, std::optional<RunFolder> folder)
    : folder_(std::move(folder)),
      console_(options.lines && !options.quiet && !options.json
                   ? make_plain_console(options.output, options.messages)
                   : make_console(options.quiet || options.json, options.output, options.messages)) {
  if (options.json) json_.emplace(options.output);
}

void Reporter::started(const RunPlan& plan, const std::string& job_yaml) {
  const std::lock_guard lock(mutex_);
  if (folder_) {
    folder_->begin(job_yaml);
    folder_->append_metrics(start_json(plan));
  }
  console_->started(plan);
}

void Reporter::step(const StepReport& report) {
  const std::lock_guard lock(mutex_);
  if (folder_) folder_->append_metrics(train_json(report));
  console_->step(report);
}

void Reporter::live(const StepReport& report) {
  const std::lock_guard lock(mutex_);
  console_->live(report);
}

void Reporter::evaluated(const EvalReport& report) {
  const std::lock_guard lock(mutex_);
  if (folder_) folder_->append_metrics(evaluate_json(report));
  console_->evaluated(report);
}

void Reporter::record(const FaultReport& report) {
  const std::lock_guard lock(mutex_);
  leave_fault(report);
}

void Reporter::fault(const FaultReport& report) {
  const std::lock_guard lock(mutex_);
  leave_fault(report);
  console_->warning(report.message);
}

void Reporter::leave_fault(FaultReport report) {
  if (!folder_) return;
  report.unix_time = unix_seconds();
  folder_->append_metrics(fault_json(report));
}

void Reporter::recovered(const FaultReport& report) {
  const std::lock_guard lock(mutex_);
  if (folder_) folder_->append_metrics(recovered_json(report));
}

void Reporter::assigned(const AssignmentReport& report) {
  const std::lock_guard lock(mutex_);
  if (folder_) folder_->append_metrics(assignment_json(report));
  console_->message(assignment_line(report));
}

void Reporter::leave(const Summary& summary) {
  if (!folder_) return;
  if (const std::string lost = folder_->restore(); !lost.empty()) console_->warning(lost);
  folder_->append_metrics(end_json(summary));
  folder_->write_summary(summary_json(summary));
}

void Reporter::failed(const Summary& summary) {
  const std::lock_guard lock(mutex_);
  write_json(summary_json(summary));  // first: what ended the run may keep the folder from being written, too
  leave(summary);
}

void Reporter::unbegun(const Summary& summary) {
  const std::lock_guard lock(mutex_);
  write_json(summary_json(summary));
}

void Reporter::finished(const Summary& summary) {
  const std::lock_guard lock(mutex_);
  try {
    leave(summary);
  } catch (const Error& error) {
    Summary failed = summary;
    failed.status = RunStatus::failed;
    failed.error = error.what();
    failed.weights_hash.clear();
    write_json(summary_json(failed));
    throw;
  }
  console_->finished(summary);
  print_json(summary_json(summary));
}

void Reporter::repeated(const Summary& summary, const std::string& json) {
  const std::lock_guard lock(mutex_);
  console_->finished(summary);
  print_json(json);
}

void Reporter::write_json(const std::string& json) {
  if (!json_ || printed_) return;
  printed_ = true;
  json_->write(json + "\n");
}

void Reporter::print_json(const std::string& json) {
  if (!json_) return;
  write_json(json);
  if (json_->error() != 0 && json_->error() != EPIPE) {
    fail(ExitStatus::failed, "cannot write the summary to standard output: {}", std::strerror(json_->error()));
  }
}

void Reporter::message(const std::string& text) {
  const std::lock_guard lock(mutex_);
  console_->message(text);
}

void Reporter::warning(const std::string& text) {
  const std::lock_guard lock(mutex_);
  console_->warning(text);
}

}  // namespace dptrain
