// Purpose: the evaluations of a run, as metrics.jsonl tells them. Thread safety: pure function.
#pragma once

#include <filesystem>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// In the order in which they were made, those of all parts of the run. Lines that cannot be read are passed over: a run that was
/// killed may have left half of one. Empty where there is no such file.
std::vector<EvalReport> read_evaluations(const std::filesystem::path& metrics);

}  // namespace dptrain
