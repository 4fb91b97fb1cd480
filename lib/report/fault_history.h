// Purpose: what went wrong in the earlier parts of a run, as metrics.jsonl tells it. Thread safety: pure function.
#pragma once

#include <filesystem>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// In the order in which it happened, with the recoveries that were told. Lines that cannot be read are passed over: a
/// run that was killed may have left half of one. Empty where there is no such file.
std::vector<FaultReport> read_fault_history(const std::filesystem::path& metrics);

}  // namespace dptrain
