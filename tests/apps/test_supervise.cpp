// scripts/supervise with the built binary: runs that fail come to the end, and the weights, of one that does not.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

namespace {

Finished supervise(const Workplace& here, const std::vector<std::string>& options,
                   const std::vector<std::string>& arguments) {
  std::vector<std::string> command{std::string(DPTRAIN_SOURCE_DIR) + "/scripts/supervise", "--delay", "0"};
  command.insert(command.end(), options.begin(), options.end());
  command.emplace_back("--");
  const std::vector<std::string> run_command = here.command(arguments);
  command.insert(command.end(), run_command.begin(), run_command.end());
  return run(command, here.options());
}

}  // namespace

TEST_CASE(
    "a run past its step deadline, and one whose replica throws, is gone on with to the weights of one that was well") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "well"}).status == 0);
  const Finished done =
      supervise(here, {},
                {"job.yaml", "--quiet", "--out", "run", "--resume", "--set", "checkpoint.every=1 steps", "--set",
                 "faults.step_deadline=3", "--set",
                 "drills=[{at_step: 2, replica: 1, do: stall}, {at_step: 4, replica: 0, do: throw}]"});
  CHECK_MESSAGE(done.status == 0, done.err);
  CHECK(has(done.err, "status 75 after "));
  CHECK(has(done.err, "restart 1 of 3 in 0 s\n"));
  CHECK(has(done.err, "status 1 after "));
  CHECK(has(done.err, "restart 2 of 3 in 0 s\n"));
  CHECK(here.summary("run").at("weights_hash") == here.summary("well").at("weights_hash"));
  CHECK(here.summary("run").at("steps") == 6);
}

TEST_CASE("a spec that is wrong and an expectation that is missed are not tried again") {
  const Workplace here;
  const Finished wrong = supervise(here, {}, {"job.yaml", "--out", "a", "--resume", "--set", "train.stepz=1"});
  CHECK(wrong.status == 2);
  CHECK(!has(wrong.err, "restart"));
  const Finished missed =
      supervise(here, {}, {"job.yaml", "--quiet", "--out", "b", "--resume", "--set", "expect.test_accuracy=1"});
  CHECK(missed.status == 4);
  CHECK(!has(missed.err, "restart"));
}

}  // namespace dptrain::test
