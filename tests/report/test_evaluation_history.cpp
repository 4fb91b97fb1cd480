#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "report/evaluation_history.h"
#include "report/json.h"
#include "support/process.h"

namespace dptrain {

TEST_CASE(
    "the evaluations of a run are read back from its lines, in all its parts; broken lines and lost steps are passed "
    "over") {
  const test::TemporaryFolder folder;
  CHECK(read_evaluations(folder / "metrics.jsonl").evaluations.empty());
  CHECK(read_evaluations(folder / "metrics.jsonl").parts == 0);
  const EvalReport good{
      .step = 7, .epoch = 0.5, .test_loss = 0.25, .test_accuracy = 0.75, .seconds = 0.1, .train_seconds = 1.5};
  const EvalReport averaged{
      .step = 8, .test_loss = 0.5, .test_accuracy = 0.7, .ema_test_loss = 0.4, .ema_test_accuracy = 0.8};
  const EvalReport bad{.step = 9, .epoch = 1}, lost{.step = 9, .epoch = 1, .test_accuracy = 0.9};
  RunPlan again;
  again.first_step = 7;
  std::ofstream(folder / "metrics.jsonl") << start_json({}) << "\n"
                                          << evaluate_json(good) << "\n"
                                          << R"({"event":"train","step":8})"
                                          << "\n"
                                          << R"({"event":"evaluate","step":"many"})"
                                          << "\n"
                                          << R"({"event":"evaluate","st)"
                                          << "\n"
                                          << evaluate_json(lost) << "\n"
                                          << start_json(again) << "\n"
                                          << evaluate_json(bad) << "\n"
                                          << evaluate_json(averaged) << "\n";
  const EvaluationHistory history = read_evaluations(folder / "metrics.jsonl");
  CHECK(history.parts == 2);
  REQUIRE(history.evaluations.size() == 3);
  CHECK(history.evaluations[0].step == 7);
  CHECK(history.evaluations[0].epoch == 0.5);
  CHECK(history.evaluations[0].test_loss == 0.25);
  CHECK(history.evaluations[0].test_accuracy == 0.75);
  CHECK(history.evaluations[0].seconds == 0.1);
  CHECK(history.evaluations[0].train_seconds == 1.5);
  CHECK(history.evaluations[1].step == 9);
  CHECK(std::isnan(history.evaluations[1].test_accuracy));
  CHECK(std::isnan(history.evaluations[1].train_seconds));
  CHECK(std::isnan(history.evaluations[1].ema_test_loss));
  CHECK(history.evaluations[2].ema_test_loss == 0.4);
  CHECK(history.evaluations[2].ema_test_accuracy == 0.8);
}

}  // namespace dptrain
