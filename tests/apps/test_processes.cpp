// A job as several processes: the same weights as one, refusals that name who differs, and one end for all.
#include <doctest/doctest.h>

#include <algorithm>

#include "apps/mpirun.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

const std::string mlp = small_mlp("cpu");
const std::string cnn = R"(name: cnn
dataset: {name: digits, train_samples: 110, test_samples: 70}
model:
  input: [1, 28, 28]
  layers: [{conv2d: {out_channels: 6, kernel_size: 3}}, batch_norm, relu, {max_pool2d: 2}, flatten, {dropout: 0.2}, {linear: 10}]
train:
  {steps: 9, global_batch_size: 48, micro_batch_size: 8, ema: {decay: 0.9}, clip_grad_norm: 2.0, optimizer: {name: lamb, lr: 0.01}}
devices: {type: cpu, count: 4}
)";

// Norms over all micro-batches of a step, of which there are fewer in the last step of an epoch, for other replicas.
const std::string norms = R"(name: norms
dataset: {name: digits, train_samples: 124, test_samples: 70}
model:
  input: [1, 28, 28]
  layers:
    - conv2d: {out_channels: 6, kernel_size: 3}
    - batch_norm: {sync: true}
    - relu
    - max_pool2d: 2
    - flatten
    - linear: 20
    - batch_norm: {sync: true}
    - linear: 10
train: {steps: 9, global_batch_size: 48, micro_batch_size: 8, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
devices: {type: cpu, count: 4}
)";

// Each of its updates leaves weights that are not finite, and so many of them that their search takes a while.
constexpr const char* diverging = R"(name: job
dataset: {name: digits, train_samples: 301, test_samples: 150}
model:
  input: [1, 28, 28]
  layers: [flatten, {linear: 400}, relu, {linear: 400}, relu, {linear: 10}]
train: {steps: 12, global_batch_size: 64, micro_batch_size: 8, optimizer: {name: sgd, lr: 3.0e38, weight_decay: 1000}}
devices: {type: cpu, count: 4}
checkpoint: {every: 1 steps}
evaluate: {every: 100 steps}
faults: {on_nan: rollback, rollback_lr_factor: 1.0e-42, max_rollbacks: 2, step_deadline: 4}
)";

const std::vector<std::string> kEndless = {"job.yaml",  "--quiet",
                                           "--out",     "run",
                                           "--set",     "train.steps=100000000",
                                           "--devices", "3",
                                           "--set",     "faults.step_deadline=5"};

}  // namespace

TEST_CASE("processes: 1 x 4, 2 x 2 and 4 x 1 give one hash, with shared memory and as if each were a host") {
  SKIP_WITHOUT_RANKS();
  for (const std::string& job : {mlp, cnn, norms}) {
    const Ranks here;
    write_text(here.folder / "job.yaml", job);
    const std::string whole = here.weights(here.dptrain({"job.yaml", "--quiet", "--out", "1"}), "1");
    const double test_loss = here.summary("1")["test_loss"], final_loss = here.summary("1")["final_loss"];
    for (const int ranks : {2, 3, 4}) {
      for (const std::string shared : {"on", "off"}) {
        CAPTURE(ranks);
        CAPTURE(shared);
        const std::string out = std::to_string(ranks) + shared;
        CHECK(here.weights(here.on(ranks, {"job.yaml", "--quiet", "--out", out}, {{"DPTRAIN_SHARED_MEMORY", shared}}),
                           out) == whole);
        CHECK(here.summary(out)["test_loss"] == test_loss);
        CHECK(here.summary(out)["final_loss"] == final_loss);
        CHECK(here.summary(out)["replicas"] == 4);
      }
    }
  }
}

TEST_CASE("processes: whole tensors are updated, and what is not finite is settled, as by one") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", mlp);
  const std::string nan = "drills=[{at_step: 8, replica: 2, do: nan}]";
  const std::vector<std::vector<std::string>> settings = {
      {"--set", "train.optimizer={\"name\": \"muon\", \"lr\": 0.01}"},
      {"--set", "faults.on_nan=skip", "--set", nan},
      {"--set", "faults.on_nan=rollback", "--set", "checkpoint.every=3 steps", "--set", nan}};
  for (const auto& setting : settings) {
    CAPTURE(setting.back());
    std::vector<std::string> arguments = {"job.yaml", "--quiet", "--fresh", "--out", "run"};
    arguments.insert(arguments.end(), setting.begin(), setting.end());
    const std::string whole = here.weights(here.dptrain(arguments), "run");
    for (const std::string shared : {"on", "off"})
      CHECK(here.weights(here.on(2, arguments, {{"DPTRAIN_SHARED_MEMORY", shared}}), "run") == whole);
  }
}

TEST_CASE("processes: all go back from weights that are not finite, also the slowest of a host") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", diverging);
  const std::vector<std::string> arguments = {"job.yaml", "--quiet", "--fresh", "--out", "run"};
  const std::string whole = here.weights(here.dptrain(arguments), "run");
  CHECK(has(read_text(here.folder / "run/metrics.jsonl"), "rollback"));
  for (const std::string shared : {"on", "off"})
    for (int again = 0; again < 3; ++again)
      CHECK(here.weights(here.on(4, arguments, {{"DPTRAIN_SHARED_MEMORY", shared}}), "run") == whole);
}

TEST_CASE("processes: a run goes on with any number of them") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", mlp);
  const std::string whole = here.weights(here.dptrain({"job.yaml", "--quiet", "--out", "whole"}), "whole");
  const auto part = [](const std::string& steps) {
    return std::vector<std::string>{"job.yaml", "--quiet", "--resume", "--out", "run", "--set", "train.steps=" + steps};
  };
  CHECK(here.on(4, part("5")).status == 0);
  CHECK(here.dptrain(part("11")).status == 0);
  CHECK(here.on(3, part("16")).status == 0);
  const Finished last = here.on(2, part("23"));
  CHECK(here.weights(last, "run") == whole);
  CHECK_FALSE(has(last.err, "warning"));
  // One that is complete is said once.
  const Finished again = here.on(2, {"job.yaml", "--resume", "--json", "--out", "run"});
  CHECK(json::parse(again.out)["weights_hash"] == whole);
}

TEST_CASE("processes: one speaks, and the status is everybody's") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  const Finished missed =
      here.on(3, {"job.yaml", "--json", "--out", "run", "--devices", "3", "--set", "expect.test_accuracy=1"});
  CHECK(missed.status == 4);
  CHECK(json::parse(missed.out)["status"] == "expect_not_met");
  const Finished log = here.on(2, {"job.yaml", "--out", "log"});
  CHECK(log.status == 0);
  CHECK(log.out.find("weights ") == log.out.rfind("weights "));
  CHECK_FALSE(has(log.out, "\r"));  // no live line, though a launcher gives terminals
}

TEST_CASE("processes: hosts whose processors compute otherwise are refused, unless nobody asks for the same bits") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", mlp);
  const auto mixed = [&](const std::string& reproducible) {
    return here.on_two({"job.yaml", "--quiet", "--out", "run", "--fresh", "--set", "train.steps=3", "--set",
                        "reproducible=" + reproducible},
                       {}, {{"ONEDNN_MAX_CPU_ISA", "SSE41"}});
  };
  const Finished refused = mixed("true");
  INFO(refused.err);
  CHECK(refused.status == 2);
  CHECK(has(refused.err, "rank 1 on "));
  CHECK(has(refused.err, "give all hosts the same, or --set reproducible=false"));
  CHECK(mixed("false").status == 0);
}

TEST_CASE("processes: what does not fit is refused, and who has something else is named") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  const auto refused = [&](int ranks, std::vector<std::string> more) {
    more.insert(more.begin(), {"job.yaml", "--quiet", "--out", "run"});
    const Finished finished = here.on(ranks, more);
    CHECK(finished.status == 2);
    CHECK_FALSE(fs::exists(here.folder / "run"));
    return finished.err;
  };
  CHECK(has(refused(2, {"--devices", "1"}), "devices.count: 1 for 2 processes"));
  CHECK(has(refused(2, {"--set", "balance=auto"}), "balance: auto is for one process"));
  CHECK(has(refused(2, {"--set", "faults.on_replica_failure=continue"}), "is for one process"));
  CHECK(has(refused(2, {"--gpus", "2"}), "the job asks for GPUs, and rank 0 on "));
  // 64 samples in micro-batches of 16 are four.
  CHECK(has(refused(5, {"--set", "devices.count=auto"}), "5 replicas for 4 micro-batches"));

  std::vector<std::string> unlike = here.command_of(1, {"job.yaml", "--quiet", "--out", "run"});
  for (const std::string& word : {std::string(":"), std::string("-np"), std::string("1")}) unlike.push_back(word);
  for (const std::string& word : here.command({"job.yaml", "--quiet", "--out", "run", "--seed", "7"}))
    unlike.push_back(word);
  const Finished other = run(unlike, here.options());
  CHECK(other.status == 2);
  CHECK(has(other.err, "rank 1 on "));
  CHECK(has(other.err, "another job spec"));

  const Finished slurm = here.dptrain({"job.yaml"}, {{"SLURM_NTASKS", "8"}});
  CHECK(slurm.status == 2);
  CHECK(has(slurm.err, "--mpi=pmix"));
  CHECK(here.dptrain({"plan", "job.yaml"}, {{"SLURM_NTASKS", "8"}}).status == 0);  // in a batch script
  CHECK(here.dptrain({"check", "job.yaml"}, {{"SLURM_NTASKS", "8"}}).status == 0);
  // Another MPI's launcher: each process would be the only one.
  const Finished unknown = here.dptrain({"job.yaml"}, {{"PMI_RANK", "0"}, {"PMI_SIZE", "8"}});
  CHECK(unknown.status == 2);
  CHECK(has(unknown.err, "the launcher says 8 processes, and MPI says 1"));
}

TEST_CASE("processes: SIGKILL and SIGSTOP of a rank end all, the culprit is named, nobody is left") {
  SKIP_WITHOUT_RANKS();
  for (const int signal : {SIGKILL, SIGSTOP}) {
    for (const std::size_t culprit : {2, 0}) {
      CAPTURE(signal);
      CAPTURE(culprit);
      const Ranks here;
      RanksAtWork training(here, 3, kEndless, {{"DPTRAIN_SHARED_MEMORY", culprit == 0 ? "off" : "on"}});
      ::kill(training.processes[culprit], signal);
      check_lost(training.launcher.wait(), culprit, signal);
      CHECK(training.all_gone());
    }
  }
}

TEST_CASE("processes: the launcher's death is everybody's, also of one that is stopped") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  RanksAtWork training(here, 3, kEndless);
  ::kill(training.processes[1], SIGSTOP);
  training.launcher.signal(SIGKILL);
  CHECK(training.launcher.wait().status == 137);
  CHECK(training.all_gone());
  // Standard error went with it.
  CHECK(here.summary("run")["status"] == "failed");
  CHECK(has(here.summary("run")["error"], "the launcher of "));
}

TEST_CASE(
    "processes: a replica that throws or hangs is named by the first rank, and the summary says that the run failed") {
  SKIP_WITHOUT_RANKS();
  for (const auto& [what, status] : {std::pair{"throw", 1}, {"stall", 75}}) {
    const Ranks here;
    const Finished ended =
        here.on(3, {"job.yaml", "--quiet", "--out", "run", "--devices", "3", "--set", "faults.step_deadline=3", "--set",
                    std::string("drills=[{at_step: 3, replica: 2, do: ") + what + "}]"});
    INFO(ended.err);
    CHECK(ended.status == status);
    CHECK(has(ended.err, "rank 2 on "));
    CHECK(has(ended.err, "replica 2"));
    CHECK(here.summary("run")["status"] == "failed");
  }
}

TEST_CASE("processes: a stall without seconds needs a deadline of the job's in one process alone, and all say so") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  const std::vector<std::string> job = {
      "job.yaml", "--quiet",       "--devices", "2",
      "--set",    "train.steps=2", "--set",     "drills=[{at_step: 1000, replica: 1, do: stall}]"};
  const Finished refused = here.on(1, job);
  CHECK(refused.status == 2);
  CHECK(has(refused.err, "a stall without 'seconds' lasts for ever"));
  const Finished done = here.on(2, job);
  INFO(done.err);
  CHECK(done.status == 0);
}

TEST_CASE("processes: a signal to one rank or to the launcher stops all at a step, which is saved") {
  SKIP_WITHOUT_RANKS();
  for (const bool through_launcher : {true, false}) {
    const Ranks here;
    RanksAtWork training(here, 2, kEndless);
    if (through_launcher)
      training.launcher.signal(SIGUSR1);
    else
      ::kill(training.processes[1], SIGTERM);
    const Finished stopped = training.launcher.wait();
    CHECK(stopped.status == 128 + (through_launcher ? SIGUSR1 : SIGTERM));
    CHECK(training.all_gone());
    CHECK(here.summary("run")["status"] == "stopped");
    const std::int64_t steps = here.summary("run")["steps"];
    CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps)) / "manifest.json"));
    const auto arguments = [&](const std::string& out) {
      return std::vector<std::string>{
          "job.yaml", "--quiet", "--resume", "--out", out, "--set", "train.steps=" + std::to_string(steps + 3)};
    };
    const std::string resumed = here.weights(here.on(2, arguments("run")), "run");
    CHECK(resumed == here.weights(here.dptrain(arguments("whole")), "whole"));
  }
}

}  // namespace dptrain::test
