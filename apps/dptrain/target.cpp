#include "dptrain/target.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "report/evaluation_history.h"

namespace dptrain {

void aim(JobSpec& job, double target) {
  if (!(target > 0 && target <= 1)) {
    fail(ExitStatus::usage, "--target {:g}: expected a test accuracy above 0 and at most 1, such as 0.985 for 98.5%",
         target);
  }
  job.expect = {};
  if (job.evaluate.every) return;
  constexpr int kLooks = 20;
  if (job.train.epochs) {
    constexpr double kShortest = 1e-6;  // epochs that a spec may ask for
    job.evaluate.every = {std::max(kShortest, *job.train.epochs / kLooks), Interval::Unit::epochs};
  } else {
    job.evaluate.every = {static_cast<double>(std::max<std::int64_t>(1, *job.train.steps / kLooks)),
                          Interval::Unit::steps};
  }
}

Aimed look_back(const std::filesystem::path& run_folder, double target) {
  Aimed aimed;
  const EvaluationHistory history = read_evaluations(run_folder / "metrics.jsonl");
  aimed.parts = history.parts;
  for (const EvalReport& report : history.evaluations) {
    aimed.at = report;
    if (!(that_counts(report).accuracy >= target)) continue;
    aimed.reached = true;
    break;
  }
  return aimed;
}

}  // namespace dptrain
