// `dptrain JOB --target ACCURACY`.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

using nlohmann::json;

TEST_CASE("training to a target: 0 where it is reached, 4 where it is not, and --resume knows") {
  const Workplace here;
  const auto train = [&](const std::string& target, const std::vector<std::string>& more) {
    std::vector<std::string> all{"job.yaml", "--target", target, "--set", "evaluate.every=2 steps", "--out", "run"};
    all.insert(all.end(), more.begin(), more.end());
    return here.dptrain(all);
  };
  const Finished reached = train("0.01", {"--set", "expect.test_accuracy=1"});
  CHECK(reached.status == 0);
  CHECK(has(reached.out + reached.err, "reached 1%: "));
  CHECK(here.summary("run").at("status") == "stopped");
  CHECK(here.summary("run").at("steps") == 2);
  const Finished again = train("0.01", {"--resume", "--json"});
  CHECK(again.status == 0);
  CHECK(json::parse(again.out) == here.summary("run"));
  const Finished missed = train("1", {"--resume"});
  CHECK(missed.status == 4);
  CHECK(has(missed.out + missed.err, "missed 100%: "));
  CHECK(here.summary("run").at("status") == "done");
  CHECK(here.summary("run").at("steps") == 6);
  CHECK(train("1", {"--resume"}).status == 4);
  CHECK(train("0.01", {"--resume"}).status == 0);
  CHECK(train("98.5", {"--fresh"}).status == 2);
  CHECK(train("high", {"--fresh"}).status == 2);
}

}  // namespace dptrain::test
