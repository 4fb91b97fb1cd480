// Micro-batches that move between GPUs, on the fake of CUDA, whose clocks say the same every time: drills make one GPU
// slow, then another, and the weights have the bits of a run in which nothing moves.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "data/open/open.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/small_jobs.h"
#include "train/resumed_runs.h"

namespace dptrain {

using namespace test;

namespace {

constexpr std::int64_t kSamples = 16 * 9 + 11;  // nine full steps an epoch, and a short one

struct Machine {
  int gpus;
  const char* devices;
};
const Machine kOne{1, "{type: cuda, count: 1}"}, kShared{1, "{type: cuda, count: 2, share: true}"},
    kOwn{2, "{type: cuda, count: 2}"};
const Machine kMachines[] = {kShared, {1, "{type: cuda, count: 3, share: true}"}, kOwn, {3, "{type: cuda, count: 3}"}};

const Case kMlp{"clipped, with an average", "[flatten, {linear: 9}, relu, {dropout: 0.2}, {linear: 3}]",
                "micro_batch_size: 3, clip_grad_norm: 0.5, optimizer: {name: adam, lr: 0.01}, ema: {decay: 0.5}"};
const Case kNorm{"a norm over the step",
                 "[flatten, {linear: 5}, {batch_norm: {sync: true}}, relu, {dropout: 0.1}, {linear: 3}]",
                 "micro_batch_size: 3, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}"};

/// Replica 1 is slow, and before the second window replica 0 gets even slower.
const std::string kSlow =
    "drills: [{at_step: 0, replica: 1, do: slow, factor: 4}, {at_step: 20, replica: 0, do: slow, factor: 30}";
const std::string kStill = kSlow + "]\n", kBalanced = "balance: auto\n" + kStill;

struct Outcome {
  Summary summary;
  std::vector<std::string> moves;   // what the log says of them
  std::vector<std::string> losses;  // and of steps, without their speed

  /// Of weights, average and losses.
  std::string bits() const {
    return fmt::format("{} {} {} {}", summary.weights_hash, summary.ema_test_loss, summary.final_loss,
                       fmt::join(losses, ""));
  }
};

Outcome run_on(const Machine& machine, const JobSpec& job, const DatasetPair& data, std::uint64_t seed = 1) {
  const Gpus gpus(machine.gpus);
  fake_cuda::set_seed(seed);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> log(std::tmpfile(), &std::fclose);
  Reporter reporter({.output = log.get(), .messages = log.get()}, std::nullopt);
  Outcome outcome{.summary = train(job, data, reporter), .moves = {}, .losses = {}};
  std::rewind(log.get());
  for (char text[1000]; std::fgets(text, sizeof text, log.get()) != nullptr;) {
    const std::string line(text);
    if (line.starts_with("from step ")) outcome.moves.push_back(line);
    if (line.starts_with("step ")) outcome.losses.push_back(line.substr(0, line.rfind("  ")) + "\n");
  }
  return outcome;
}

/// 50 steps: two windows of full ones, and some behind each.
JobSpec long_job(const Case& c, const Machine& machine, const std::string& more) {
  JobSpec job = job_of(c, machine.devices, "log: {every: 1 steps}\n" + more);
  job.train.epochs = 5;
  return job;
}

Outcome run_long(const Case& c, const Machine& machine, const std::string& more = "", std::uint64_t seed = 1) {
  return run_on(machine, long_job(c, machine, more), memory_pair(kSamples, 20, kShape, 3), seed);
}

/// Twice, away from who was slow, and back.
void check_moves(const Outcome& o) {
  REQUIRE(o.moves.size() == 2);
  const bool two = o.summary.replicas == 2;
  CHECK(o.moves[0].starts_with(two ? "from step 20 on: 5 + 1 micro" : "from step 20 on: 3 + 1 + 2 micro"));
  CHECK(o.moves[1].starts_with(two ? "from step 40 on: 1 + 5 micro" : "from step 40 on: 1 + 1 + 4 micro"));
}

}  // namespace

TEST_CASE("micro-batches move away from GPUs that are slow, shared or their own, and no bit changes") {
  for (const Case& c : {kMlp, kNorm}) {
    CAPTURE(c.name);
    const std::string wanted = run_long(c, kOne).bits();
    std::uint64_t seed = 1;
    for (const Machine& machine : kMachines) {
      CAPTURE(machine.devices);
      const Outcome moved = run_long(c, machine, kBalanced, ++seed);
      CHECK(moved.bits() == wanted);
      check_moves(moved);
    }
  }
}

TEST_CASE("where nothing moves nothing is timed, and slow GPUs have the bits of fast ones") {
  const std::int64_t timed = fake_cuda::counters().timed_events;
  const std::string wanted = run_long(kMlp, kOne).bits();
  for (const Machine& machine : {kShared, kOwn}) {
    const Outcome still = run_long(kMlp, machine, kStill);
    CHECK(still.bits() == wanted);
    CHECK(still.losses.size() == 50);
    CHECK(still.moves.empty());
  }
  CHECK(fake_cuda::counters().timed_events == timed);
  CHECK(run_long(kMlp, kOwn, "balance: auto\n").moves.empty());  // all are as fast
}

TEST_CASE("a change of the assignment allocates nothing on the GPUs") {
  const auto allocations = [](double epochs) {
    const std::int64_t before = fake_cuda::counters().allocations;
    JobSpec job = long_job(kMlp, kOwn, kBalanced);
    job.train.epochs = epochs;
    run_on(kOwn, job, memory_pair(kSamples, 20, kShape, 3));
    return fake_cuda::counters().allocations - before;
  };
  CHECK(allocations(5) == allocations(1));
}

TEST_CASE("steps that are left out or gone back from, while micro-batches move") {
  const std::string wanted = run_long(kMlp, kOne).summary.weights_hash, bad = ", {at_step: 30, replica: 0, do: nan}]\n";
  const std::string skip = "faults: {on_nan: skip}\n" + kSlow + bad;
  const std::string left_out =
      run_long(kMlp, kOne, "faults: {on_nan: skip}\ndrills: [{at_step: 30, replica: 0, do: nan}]").summary.weights_hash;
  for (const Machine& machine : {kShared, kOwn}) {
    const Outcome skipped = run_long(kMlp, machine, "balance: auto\n" + skip);
    CHECK(skipped.summary.weights_hash == left_out);
    CHECK(skipped.summary.skipped_steps == 1);
    CHECK(skipped.moves.size() == 2);
    const Outcome back =
        run_long(kMlp, machine,
                 "balance: auto\ncheckpoint: {every: 4 steps}\nfaults: {on_nan: rollback, rollback_lr_factor: 1}\n" +
                     kSlow + bad);
    CHECK(back.summary.weights_hash == wanted);
    CHECK(back.summary.faults.size() == 1);
    CHECK(!back.moves.empty());
  }
}

TEST_CASE("with a loss scale that leaves steps out, and evaluations after each, which wait for the GPUs") {
  const Case half{"half", kMlp.layers,
                  "precision: fp16, loss_scale: {init_scale: 8388608, growth_interval: 3}, micro_batch_size: 3, "
                  "optimizer: {name: sgd, lr: 0.1, momentum: 0.9}"};
  const Outcome one = run_long(half, kOne);
  REQUIRE(one.summary.loss_scale);
  CHECK(one.summary.loss_scale->skipped_steps > 0);
  for (const Machine& machine : {kShared, kOwn}) {
    for (const char* more : {"", "evaluate: {every: 1 steps}\n"}) {
      const Outcome moved = run_long(half, machine, kBalanced + more);
      CHECK(moved.bits() == one.bits());
      CHECK(moved.summary.loss_scale->skipped_steps == one.summary.loss_scale->skipped_steps);
      CHECK(moved.moves.size() == 2);
    }
  }
}

TEST_CASE("samples that lie on the GPU go with their micro-batches") {
  const auto digits = [](const Machine& machine, const char* more) {
    const JobSpec job = read_job_text(
        fmt::format(
            "name: digits\ndataset: {{name: digits, train_samples: 320, test_samples: 20}}\nmodel:\n  input: [1, "
            "28, 28]\n  layers: [flatten, {{linear: 10}}]\ntrain: {{steps: 20, global_batch_size: 16, "
            "micro_batch_size: 4, optimizer: {{name: sgd, lr: 0.1}}}}\ndevices: {}\n{}",
            machine.devices, more),
        "digits.yaml");
    return run_on(machine, job, open_dataset(job.dataset, {}));
  };
  const Outcome one = digits(kOne, ""),
                moved = digits(kShared, "balance: auto\ndrills: [{at_step: 0, replica: 1, do: slow, factor: 4}]\n");
  CHECK(moved.bits() == one.bits());
  CHECK(moved.moves.size() == 1);
}

TEST_CASE("a run whose micro-batches have moved is gone on with, to the same bits") {
  const JobSpec job = long_job(kMlp, kShared, kBalanced + "checkpoint: {every: 5 steps}\n");
  const PartsOfRun run_of{job, kShape, kSamples, 20};
  const std::string wanted = run_long(kMlp, kOne).summary.weights_hash;
  const TemporaryFolder folder;
  Summary part;
  for (const Machine& machine : {kShared, kOwn}) {
    const Gpus gpus(machine.gpus);
    part = run_of.part(folder.path(), machine.gpus == 2 ? to_the_end : 16 * 24, job_of(kMlp, machine.devices).devices);
  }
  CHECK(part.weights_hash == wanted);
}

TEST_CASE("NCCL's own order, where nobody asks for the same bits, is right to rounding") {
  const Outcome one = run_long(kMlp, kOne);
  const Outcome moved = run_long(kMlp, kMachines[3], "reproducible: false\n" + kBalanced);
  CHECK(moved.summary.test_loss == doctest::Approx(one.summary.test_loss).epsilon(1e-3));
  check_moves(moved);
}

TEST_CASE("an assignment whose sums no GPU would add up is not taken, and the run goes on") {
  // 24 replicas hand over 56 sums of the tree over 128 micro-batches; were one of them to have a single one, it would
  // be 71.
  const auto job = [](const Machine& machine, const char* more) {
    return read_job_text(
        fmt::format(
            "name: crowd\ndataset: {{name: digits}}\nmodel: {{input: [1, 6, 6], layers: [flatten, {{linear: 3}}]}}\n"
            "train: {{epochs: 1, global_batch_size: 128, micro_batch_size: 1, optimizer: {{name: sgd, lr: 0.1}}}}\n"
            "devices: {}\n{}",
            machine.devices, more),
        "crowd.yaml");
  };
  const Machine crowd{1, "{type: cuda, count: 24, share: true}"};
  const DatasetPair data = memory_pair(128 * 18, 20, kShape, 3);
  const Outcome o =
      run_on(crowd, job(crowd, "balance: auto\ndrills: [{at_step: 0, replica: 0, do: slow, factor: 8}]\n"), data);
  CHECK(o.moves.empty());
  CHECK(o.bits() == run_on(kOne, job(kOne, ""), data).bits());
}

TEST_CASE("slow GPUs in the synchronous steps before local SGD") {
  const std::string local = "mode: local_sgd\nlocal_sgd: {workers: 4, sync_every: 4, warmup_sync_steps: 4}\n";
  const Case c{"local", kMlp.layers, "micro_batch_size: 4, optimizer: {name: sgd, lr: 0.1}"};
  const auto hash = [&](const std::string& more) {
    const Gpus gpus(1);
    return run(job_of(c, kShared.devices, local + more)).weights_hash;
  };
  CHECK(hash("drills: [{at_step: 1, replica: 1, do: slow, factor: 2}]\n") == hash(""));
}

}  // namespace dptrain
