// Purpose: the evaluations of a run, as metrics.jsonl tells them. Thread safety: pure function.
#pragma once

#include <filesystem>
#include <vector>

#include "report/records.h"

namespace dptrain {

struct EvaluationHistory {
  std::vector<EvalReport> evaluations;  ///< in the order in which they were made
  std::int64_t parts = 0;               ///< of the run: how often it was started or gone on with
};

/// Lines that cannot be read are passed over: a run that was killed may have left half of one. Nothing where there is no such file.
EvaluationHistory read_evaluations(const std::filesystem::path& metrics);

}  // namespace dptrain
