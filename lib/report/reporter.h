// Purpose: the one thing that a trainer reports to; it hands each report to the console and to the run folder.
// Thread safety: any thread; one call at a time gets through.
// Errors of every method: those of RunFolder (failed: a file that cannot be written).
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "report/console.h"
#include "report/output.h"
#include "report/records.h"
#include "report/run_folder.h"

namespace dptrain {

struct ReportOptions {
  bool quiet = false;            ///< no log
  bool lines = false;            ///< no live line, on a terminal either
  bool json = false;             ///< no log; standard output gets the summary as one JSON object
  std::FILE* output = stdout;    ///< borrowed
  std::FILE* messages = stderr;  ///< borrowed
};

class Reporter {
 public:
  /// Says nothing but warnings and leaves nothing: for tests, and for programs that report in their own way.
  Reporter();
  /// Without a folder nothing is left behind.
  Reporter(const ReportOptions& options, std::optional<RunFolder> folder);

  /// `job_yaml` is the resolved spec.
  void started(const RunPlan& plan, const std::string& job_yaml);
  void step(const StepReport& report);
  /// An interval that goes on, for a live line; leaves nothing in the folder.
  void live(const StepReport& report);
  void evaluated(const EvalReport& report);
  /// A fault that an error will tell of.
  void record(const FaultReport& report);
  /// A fault is a warning too.
  void fault(const FaultReport& report);
  /// The step of a fault, or one after it, is done well. Leaves a line in the folder and nothing on the console.
  void recovered(const FaultReport& report);
  void assigned(const AssignmentReport& report);
  /// Errors: also failed where --json cannot be written; a reader that has gone is no error.
  void finished(const Summary& summary);
  /// A run that was complete before: its summary once more, without a trace in the folder. Errors: as finished().
  void repeated(const Summary& summary, const std::string& json);
  /// A run that has begun and ends by an error: leaves the end event and summary.json, and says it with --json; the
  /// error speaks for itself.
  void failed(const Summary& summary);
  /// A run that ends before its first step: says it with --json, unless that has had a summary already.
  void unbegun(const Summary& summary);
  void message(const std::string& text);
  void warning(const std::string& text);

 private:
  void leave(const Summary& summary);
  void leave_fault(FaultReport report);
  /// Standard output has one object, whatever comes after it.
  void write_json(const std::string& json);
  void print_json(const std::string& json);

  std::mutex mutex_;
  std::optional<RunFolder> folder_;
  std::unique_ptr<Console> console_;
  std::optional<Output> json_;
  bool printed_ = false;  ///< json_ has its object
};

}  // namespace dptrain
