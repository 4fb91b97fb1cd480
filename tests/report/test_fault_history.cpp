#include <doctest/doctest.h>

#include <cmath>
#include <fstream>

#include "report/fault_history.h"
#include "report/json.h"
#include "support/process.h"

namespace dptrain {

TEST_CASE(
    "what went wrong is read back from the lines that told it, with the recoveries; broken lines are passed over") {
  const test::TemporaryFolder folder;
  CHECK(read_fault_history(folder / "metrics.jsonl").empty());
  const FaultReport nan{.kind = "not_finite",
                        .action = "skip",
                        .step = 7,
                        .replica = 1,
                        .micro_batch = 3,
                        .parameter = "0.weight",
                        .message = "a \"quoted\" reason",
                        .unix_time = 1234.5};
  FaultReport late{.kind = "deadline", .action = "stop", .step = 9, .replica = 0, .message = "late", .unix_time = 2000};
  FaultReport recovered = nan;
  recovered.recovery_seconds = 0.25;
  std::ofstream(folder / "metrics.jsonl") << fault_json(nan) << "\n"
                                          << R"({"event":"train","step":8})"
                                          << "\n"
                                          << recovered_json(recovered) << "\n"
                                          << fault_json(late) << "\n"
                                          << R"({"event":"fault","kind":"dead)";
  const std::vector<FaultReport> history = read_fault_history(folder / "metrics.jsonl");
  REQUIRE(history.size() == 2);
  CHECK(history[0].kind == "not_finite");
  CHECK(history[0].action == "skip");
  CHECK(history[0].step == 7);
  CHECK(history[0].replica == 1);
  CHECK(history[0].micro_batch == 3);
  CHECK(history[0].parameter == "0.weight");
  CHECK(history[0].message == nan.message);
  CHECK(history[0].unix_time == 1234.5);
  CHECK(history[0].recovery_seconds == 0.25);
  CHECK(history[1].kind == "deadline");
  CHECK(history[1].micro_batch == -1);
  CHECK(history[1].parameter.empty());
  CHECK(std::isnan(history[1].recovery_seconds));
}

}  // namespace dptrain
