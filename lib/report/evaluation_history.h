// Purpose: the evaluations of a run, as metrics.jsonl tells them. Thread safety: pure function.
#pragma once

#include <filesystem>
#include <vector>

#include "report/records.h"

namespace dptrain {

struct EvaluationHistory {
  /// In the order in which they were made; not those of steps that the run lost with its process, and did again.
  std::vector<EvalReport> evaluations;
  std::int64_t parts = 0;  ///< of the run: how often it was started or gone on with
};

/// Lines that cannot be read are passed over: a run that was killed may have left half of one. Nothing where there is
/// no such file.
EvaluationHistory read_evaluations(const std::filesystem::path& metrics);

}  // namespace dptrain
