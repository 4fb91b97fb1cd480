// Purpose: the records as JSON, with the keys that scripts rely on: an addition is fine, a change of meaning is not.
// Thread safety: pure functions. Invariants: keys come in a fixed order; a number that is not finite becomes null; text
//   that is not UTF-8 gets replacement characters; no newline, so that one object is one line.
#pragma once

#include <string>

#include "report/records.h"

namespace dptrain {

std::string start_json(const RunPlan& plan);       ///< {"event": "start", ...}
std::string train_json(const StepReport& report);  ///< {"event": "train", ...}
std::string evaluate_json(const EvalReport& report);
std::string fault_json(const FaultReport& report);
std::string recovered_json(const FaultReport& report);
std::string assignment_json(const AssignmentReport& report);
std::string end_json(const Summary& summary);  ///< {"event": "end", ...}: status, where it ended, the weights' hash
/// The object of summary.json and of --json.
std::string summary_json(const Summary& summary);

std::string text(RunStatus status);

/// What summary_json() wrote. Errors: failed, naming `file`.
Summary parse_summary(const std::string& json, const std::string& file);

}  // namespace dptrain
