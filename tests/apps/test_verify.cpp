// `dptrain verify`: a run's stretches trained again, at any number of replicas, and what it says where they differ.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain::test {

namespace {

/// A run in `run` with checkpoints of steps 2, 4 and 6.
void train(const Workplace& here, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"job.yaml", "--quiet", "--out",
                                        "run",      "--set",   "checkpoint={every: 2 steps, keep: 3}"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Finished done = here.dptrain(arguments);
  INFO(done.err);
  REQUIRE(done.status == 0);
}

Finished verify(const Workplace& here, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"verify", "run"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return here.dptrain(arguments);
}

/// How many stretches it found as they were saved.
int saved_in(const std::string& text) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(" as saved\n", at)) != std::string::npos; ++at) ++count;
  return count;
}

}  // namespace

TEST_CASE("verify finds a run as it was left, at other numbers of replicas too") {
  const Workplace here;
  train(here, {"--devices", "2"});
  for (const char* devices : {"1", "3"}) {
    const Finished done = verify(here, {"--all", "--devices", devices, "--offline"});
    CHECK(done.status == 0);
    CHECK(has(done.out, "each used exactly once"));
    CHECK(saved_in(done.out) == 3);
    CHECK_FALSE(has(done.out, "NOT"));
    CHECK_FALSE(has(done.out, "warning"));
  }
}

TEST_CASE("verify --steps trains to the checkpoints that are named, and refuses those that are not there") {
  const Workplace here;
  train(here);
  const Finished one = verify(here, {"--steps", "4"});
  CHECK(one.status == 0);
  CHECK(has(one.out, "2 to 4 again"));
  CHECK(saved_in(one.out) == 1);
  const Finished two = verify(here, {"--steps", "6,2,6"});
  CHECK(two.status == 0);
  CHECK(has(two.out, "0 to 2 again"));
  CHECK(has(two.out, "4 to 6 again"));
  CHECK(saved_in(two.out) == 2);
  const Finished none = verify(here, {"--steps", "2,3"});
  CHECK(none.status == 2);
  CHECK(has(none.err, "there is no checkpoint of step 3 in run; there are those of 2, 4, 6"));
  for (const char* wrong : {"two", "2,", ",", "2;4", "-2"})
    CHECK_MESSAGE(verify(here, {"--steps", wrong}).status == 2, wrong);
  CHECK(verify(here, {"--steps", "2", "--all"}).status == 2);
}

TEST_CASE("verify tells weights that are not those that the job leads to") {
  const Workplace here;
  train(here);
  RunState state = read_checkpoint(checkpoint_folder(here.folder / "run", 4)).snapshot.state;
  state.weights_hash.front() = state.weights_hash.front() == '0' ? '1' : '0';
  rewrite_state(here.folder / "run", state);
  const Finished done = verify(here, {"--all"});
  CHECK(done.status == 1);
  CHECK(has(done.out, "NOT as saved: " + state.weights_hash));
  CHECK(saved_in(done.out) == 2);
}

TEST_CASE("verify refuses checkpoints of another job, by the first difference") {
  const Workplace here;
  train(here);
  RunState state = read_checkpoint(checkpoint_folder(here.folder / "run", 4)).snapshot.state;
  state.seed = 9;
  rewrite_state(here.folder / "run", state);
  const Finished seed = verify(here);
  CHECK(seed.status == 2);
  CHECK(has(seed.err, "step-4 is of another job than the run's job.yaml: 'seed: 9' there, 'seed: 1' here"));

  std::string job = read_text(here.folder / "run/job.yaml");
  job.replace(job.find("lr: "), 4, "lr: 1");
  write_text(here.folder / "run/job.yaml", job);
  const Finished edited = verify(here);
  CHECK(edited.status == 2);
  CHECK(has(edited.err, "lr: 0.1"));
  CHECK(has(edited.err, "lr: 10.1"));
}

TEST_CASE("verify reports a damaged checkpoint, counts it as a failure, and trains past it") {
  const Workplace here;
  train(here);
  write_text(here.folder / "run/checkpoints/step-4/model.safetensors", "torn");
  const Finished all = verify(here, {"--all"});
  CHECK(all.status == 1);
  CHECK(has(all.out, "damaged         run/checkpoints/step-4/model.safetensors: has 4 bytes"));
  CHECK(has(all.out, "0 to 2 again"));
  CHECK(has(all.out, "2 to 6 again"));
  CHECK(saved_in(all.out) == 2);
  CHECK(verify(here).status == 1);
  CHECK(saved_in(verify(here, {"--steps", "4,6"}).out) == 1);
}

TEST_CASE("verify says each line at once, also where an error follows") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  fs::remove(here.folder / "run/checkpoints/step-6/state.json");
  const Finished done = verify(here);
  CHECK(done.status == 1);
  CHECK(has(done.out, "step-6/state.json: is missing"));
  CHECK(has(done.err, "no checkpoint to verify"));
}

TEST_CASE("verify leaves out drills that cost time, and does those that decide weights, on fewer replicas too") {
  const Workplace here;
  train(here, {"--set", "faults={on_replica_failure: continue, step_deadline: 60}", "--set",
               "drills=[{at_step: 1, replica: 1, do: slow}, {at_step: 2, replica: 1, do: stall, seconds: 0.01}, "
               "{at_step: 3, replica: 1, do: throw}]"});
  for (const char* devices : {"1", "2"}) {
    const Finished done = verify(here, {"--all", "--devices", devices});
    CHECK(done.status == 0);
    CHECK(saved_in(done.out) == 3);
  }
  for (const char* policy : {"faults.on_nan=skip", "faults.on_nan=rollback"}) {
    const Workplace other;
    train(other,
          {"--set", policy, "--set", "drills=[{at_step: 3, replica: 1, do: nan}, {at_step: 3, replica: 0, do: nan}]"});
    for (const char* devices : {"1", "2"}) {
      const Finished done = verify(other, {"--all", "--devices", devices});
      INFO(done.out);
      CHECK(done.status == 0);
      CHECK(saved_in(done.out) == 3);
    }
  }
}

TEST_CASE("verify of a run that went back past a checkpoint, which it saved again when it came there again") {
  for (const char* drilled : {"2", "4", "5"}) {
    const Workplace here;
    train(here, {"--set", "faults.on_nan=rollback", "--set",
                 std::string("drills=[{at_step: ") + drilled + ", replica: 0, do: nan}]"});
    const Finished done = verify(here, {"--all"});
    INFO(done.out);
    CHECK(done.status == 0);
    CHECK(saved_in(done.out) == 3);
  }
}

TEST_CASE("verify of a run that a drill ended, and that got past it when it was gone on with") {
  const Workplace here;
  const std::vector<std::string> drilled = {"job.yaml",
                                            "--quiet",
                                            "--out",
                                            "run",
                                            "--resume",
                                            "--set",
                                            "checkpoint.every=2 steps",
                                            "--set",
                                            "drills=[{at_step: 3, replica: 1, do: nan}]"};
  REQUIRE(here.dptrain(drilled).status == 1);
  REQUIRE(here.dptrain(drilled).status == 0);
  const Finished done = verify(here, {"--all"});
  INFO(done.out);
  CHECK(done.status == 0);
  CHECK(saved_in(done.out) == 3);
}

TEST_CASE("verify needs a run, and a checkpoint that can be read") {
  const Workplace here;
  const Finished none = here.dptrain({"verify", "nowhere"});
  CHECK(none.status == 2);
  CHECK(has(none.err, "holds no run"));
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  fs::remove_all(here.folder / "run/checkpoints");
  const Finished empty = here.dptrain({"verify", "run"});
  CHECK(empty.status == 1);
  CHECK(has(empty.err, "no checkpoint"));
}

}  // namespace dptrain::test
