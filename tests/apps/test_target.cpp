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

TEST_CASE("where an average of the weights is kept, --target and a comparison go by it, as `expect` does") {
  const Workplace here;
  // One evaluation, at the end.
  const std::vector<std::string> averaged{"--set", "train.ema={decay: 0.9}", "--set", "evaluate.every=6 steps"};
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), averaged.begin(), averaged.end());
    return here.dptrain(arguments);
  };
  REQUIRE(run({"job.yaml", "--quiet", "--out", "plain"}).status == 0);
  const json plain = here.summary("plain");
  const double weights = plain.at("test_accuracy"), average = plain.at("ema_test_accuracy");
  REQUIRE(weights != average);
  const std::string between = std::to_string((weights + average) / 2);
  const int status = average > weights ? 0 : 4;
  CHECK(run({"job.yaml", "--quiet", "--out", "expecting", "--set", "expect.test_accuracy=" + between}).status ==
        status);
  const Finished aimed = run({"job.yaml", "--out", "aimed", "--target", between});
  CHECK(aimed.status == status);
  CHECK(has(aimed.out + aimed.err, (status == 0 ? "reached " : "missed ")));
  CHECK(run({"job.yaml", "--quiet", "--out", "aimed", "--target", between, "--resume"}).status == status);
  CHECK(run({"compare", "job.yaml", "--quiet", "--out", "compared", "--modes", "sync", "--seeds", "1", "--target",
             between})
            .status == status);
  const json compared = json::parse(read_text(here.folder / "compared" / "comparison.json"));
  CHECK(compared.at("modes").at(0).at("runs").at(0).at("test_accuracy") == average);
}

}  // namespace dptrain::test
