// Purpose: the records as lines of text for people.
// Thread safety: pure functions. Invariants: one line has no newline and, apart from what a name in it brings along, is
//   ASCII.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// What a precision other than fp32 computes in what; empty for fp32.
std::string precision_line(std::string_view precision);
/// What is said before the first step: dataset, model and devices, how a batch is cut, and what runs in what where that
/// is not fp32.
std::vector<std::string> header_lines(const RunPlan& plan);
/// The parts of a step's line, in this order.
struct StepParts {
  std::string step, epoch, loss, lr, rate;
};
StepParts step_parts(const RunPlan& plan, const StepReport& report);
/// "step   100/1,175  epoch 0.43  loss 0.3412  lr 0.1  31,204 samples/s".
std::string step_line(const RunPlan& plan, const StepReport& report);
/// "test at epoch 1.00  accuracy 97.45%  loss 0.0812  (0.6 s)".
std::string evaluation_line(const EvalReport& report);
/// "from step 32 on: 11 + 5 micro-batches (2.01, 4.36 ms each), before 8 + 8: balance".
std::string assignment_line(const AssignmentReport& report);
/// What is said at the end: what was done and how fast, where the time went, the accuracy, the weights' hash.
std::vector<std::string> end_lines(const Summary& summary);

/// How a step of `samples` is cut into micro-batches whose sizes differ by at most one: "256 = 4 micro-batches x 64",
/// or "1,000 = 3 micro-batches: 1 x 334 + 2 x 333".
struct PartName {
  const char* one = "micro-batch";
  const char* many = "micro-batches";
};
std::string cut_text(std::int64_t samples, std::int64_t parts, const PartName& name = {});
/// 0.98517 -> "98.51%": rounded down, because rounding up could show a target that was missed. "-" where it is not
/// known.
std::string accuracy_text(double accuracy);
/// 60000 -> "60,000".
std::string grouped(std::int64_t number);
/// "where the time went: compute 91%, data 5%, reduce 3%, wait 1%", the largest first; empty where nothing was
/// measured.
std::string shares_line(const TimeShares& shares);
/// One sentence that names the largest part and what can be done about it; empty where nothing was measured.
std::string largest_share_line(const TimeShares& shares);

}  // namespace dptrain
