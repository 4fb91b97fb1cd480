// How a job on GPUs in several processes ends where something goes wrong, on the doubles of CUDA and NCCL: nobody
// hangs, whatever waits on a device for a rank that never comes.
#include <doctest/doctest.h>

#include "apps/gpu_ranks.h"

namespace dptrain::test {

namespace {

const std::vector<std::string> kEndless = {"job.yaml", "--quiet",
                                           "--out",    "run",
                                           "--set",    "train.steps=100000000",
                                           "--set",    "evaluate.every=1000000 steps",
                                           "--set",    "devices.count=3",
                                           "--set",    "faults.step_deadline=5"};

struct Training : RanksAtWork {
  explicit Training(const GpuRanks& here, int ranks, const std::vector<std::string>& arguments = kEndless)
      : RanksAtWork(here, ranks, arguments, here.gpus()) {}
};

}  // namespace

TEST_CASE("gpu processes: SIGKILL and SIGSTOP of a rank end all, the culprit is named, nobody is left") {
  SKIP_WITHOUT_RANKS();
  for (const int signal : {SIGKILL, SIGSTOP}) {
    for (const std::size_t culprit : {2, 0}) {
      CAPTURE(signal);
      CAPTURE(culprit);
      const GpuRanks here;
      Training training(here, 3);
      ::kill(training.processes[culprit], signal);
      check_lost(training.launcher.wait(), culprit, signal);
      CHECK(training.all_gone());
    }
  }
}

TEST_CASE("gpu processes: the launcher's death is everybody's") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  Training training(here, 3);
  training.launcher.signal(SIGKILL);
  CHECK(training.launcher.wait().status == 137);
  CHECK(training.all_gone());
}

TEST_CASE("gpu processes: what NCCL finds out by itself ends all, and the rank that was told is named") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  Training training(here, 3);
  write_text(here.nccl() / "error-1", "");
  const Finished ended = training.launcher.wait();
  INFO(ended.err);
  CHECK(ended.status == 75);
  CHECK(has(ended.err, "rank 1 on "));
  CHECK(has(ended.err, "remote process exited or there was a network error"));
  CHECK(training.all_gone());
  CHECK(here.summary("run")["status"] == "failed");
}

TEST_CASE("gpu processes: a reduction that does not come to its end is given up after the deadline") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  Training training(here, 3);
  write_text(here.nccl() / "stall-2", "");
  const Finished ended = training.launcher.wait();
  INFO(ended.err);
  CHECK(ended.status == 75);
  CHECK(has(ended.err, " of its step "));
  CHECK(has(ended.err, "did not end within 5 s"));
  CHECK(training.all_gone());
}

TEST_CASE("gpu processes: a rank whose GPU has too little memory ends all before the first step") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const Finished ended = here.apart({"job.yaml", "--quiet", "--out", "run", "--set", "devices.count=auto"}, {},
                                    {{"FAKE_CUDA_MEMORY", "20000"}});
  INFO(ended.err);
  CHECK(ended.status == 1);
  CHECK(has(ended.err, "rank 1 on "));
  CHECK(has(ended.err, "memory could not be had"));
}

TEST_CASE("gpu processes: a replica that throws or hangs is named by the first rank") {
  SKIP_WITHOUT_RANKS();
  for (const auto& [what, status] : {std::pair{"throw", 1}, {"stall", 75}}) {
    const GpuRanks here;
    const Finished ended = here.together(
        3, {"job.yaml", "--quiet", "--out", "run", "--set", "devices.count=3", "--set", "faults.step_deadline=3",
            "--set", std::string("drills=[{at_step: 3, replica: 2, do: ") + what + "}]"});
    INFO(ended.err);
    CHECK(ended.status == status);
    CHECK(has(ended.err, "rank 2 on "));
    CHECK(has(ended.err, "replica 2"));
    CHECK(here.summary("run")["status"] == "failed");
  }
}

TEST_CASE("gpu processes: a loss that is not finite ends all with one message") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const Finished ended = here.together(2, {"job.yaml", "--quiet", "--out", "run", "--set", "train.optimizer.lr=1e30",
                                           "--set", "train.clip_grad_norm=none"});
  INFO(ended.err);
  CHECK(ended.status == 1);
  CHECK(has(ended.err, "not finite"));
  CHECK(ended.err.find("not finite") == ended.err.rfind("not finite"));
}

TEST_CASE("gpu processes: a signal to one rank stops all at a step, which is saved whole") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  Training training(here, 2);
  ::kill(training.processes[1], SIGTERM);
  const Finished stopped = training.launcher.wait();
  INFO(stopped.err);
  CHECK(stopped.status == 128 + SIGTERM);
  CHECK(training.all_gone());
  CHECK(here.summary("run")["status"] == "stopped");
  const std::int64_t steps = here.summary("run")["steps"];
  const auto arguments = [&](const std::string& out) {
    return std::vector<std::string>{
        "job.yaml", "--quiet", "--resume", "--out", out, "--set", "train.steps=" + std::to_string(steps + 3)};
  };
  const std::string resumed = here.weights(here.together(2, arguments("run")), "run");
  CHECK(resumed == here.weights(here.alone(arguments("whole")), "whole"));
}

}  // namespace dptrain::test
