// The K workers' bits do not depend on how many replicas run them; and where local SGD is sync it has sync's bits, or
// nearly.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "train/local_sgd/local_jobs.h"

namespace dptrain::test {

namespace {

/// Averages are every fourth step, or third.
const std::vector<std::string> settings{
    "{workers: 4, sync_every: 4}",
    "{workers: 4, sync_every: 3, worker_state: keep}",
    "{workers: 4, sync_every: 4, worker_state: reset}",
    "{workers: 4, sync_every: 4, warmup_sync_steps: 6}",
    "{workers: 4, sync_every: 3, worker_state: keep, warmup_sync_steps: 2, outer_optimizer: {name: sgd, lr: 0.7, "
    "momentum: 0.9, nesterov: true}}",
    "{workers: 4, sync_every: 4, outer_optimizer: {name: adam, lr: 0.01}}"};

const std::vector<std::string> optimizers{
    "{name: sgd, lr: 0.1}", "{name: sgd, lr: 0.05, momentum: 0.9, nesterov: true}", "{name: adamw, lr: 0.01}"};

bool same(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, static_cast<double>(std::abs(a[i] - b[i])));
  return worst;
}

JobSpec in_sync(JobSpec job) {
  job.mode = Mode::sync;
  return job;
}

}  // namespace

TEST_CASE("four workers: the same bits at 1 to 4 replicas, with every optimizer, state, outer optimizer and warm-up") {
  for (const std::string& local : settings) {
    for (const std::string& optimizer : optimizers) {
      const JobSpec job = local_job(local, "  clip_grad_norm: 1\nevaluate: {every: 12 steps}\n", optimizer);
      const Summary one = run_local(job, 1);
      CHECK(one.steps == 23);
      CHECK(one.status == RunStatus::done);
      for (const int replicas : {2, 3, 4}) {
        const Summary other = run_local(job, replicas);
        CAPTURE(local);
        CAPTURE(optimizer);
        CAPTURE(replicas);
        CHECK(other.weights_hash == one.weights_hash);
        CHECK(same(other.test_loss, one.test_loss));
        CHECK(same(other.final_loss, one.final_loss));
      }
    }
  }
}

TEST_CASE("statistics and parameters that do not decay: the same bits at 1 to 3 replicas, and sync's with one worker") {
  const auto job = [](const std::string& local, const std::string& mode) {
    return read_job_text(
        fmt::format(
            "name: norms\ndataset: {{name: digits}}\nmodel:\n  input: [1, 4, 3]\n  layers: [{{conv2d: {{out_channels: "
            "4, kernel_size: 2}}}}, batch_norm, relu, global_avg_pool, {{linear: 3}}]\ntrain:\n  steps: 11\n  "
            "global_batch_size: 15\n  micro_batch_size: 3\n  clip_grad_norm: 1\n  optimizer: {{name: rmsprop, lr: "
            "0.01, weight_decay: 0.1, weight_decay_on: weights}}\nmode: {}\nlocal_sgd: {}\n",
            mode, local),
        "norms.yaml");
  };
  const auto run = [](JobSpec spec, int replicas) {
    spec.devices.count = replicas;
    spec.devices.type = DeviceType::cpu;
    Reporter silent;
    return train(spec, memory_pair(75, 40, Shape{1, 4, 3}, 3), silent).weights_hash;
  };
  for (const char* outer : {"none", "{name: sgd, lr: 0.7, momentum: 0.9}"}) {
    const JobSpec three = job(fmt::format("{{workers: 3, sync_every: 2, outer_optimizer: {}}}", outer), "local_sgd");
    const std::string one = run(three, 1);
    CHECK(run(three, 2) == one);
    CHECK(run(three, 3) == one);
  }
  const std::string alone = "{workers: 1, sync_every: 3}";
  CHECK(run(job(alone, "local_sgd"), 1) == run(job(alone, "sync"), 1));
}

TEST_CASE("more workers than samples in the last step of an epoch: the same bits at 1 to 6 replicas") {
  for (const std::string state : {"average", "keep", "reset"}) {
    for (const std::string& optimizer : optimizers) {
      const JobSpec job =
          local_job(fmt::format("{{workers: 6, sync_every: 3, worker_state: {}}}", state), "", optimizer);
      const Summary one = run_local(job, 1, {}, 67);  // steps of 16, 16, 16, 16 and 3
      for (const int replicas : {2, 4, 5, 6}) {
        CHECK(run_local(job, replicas, {}, 67).weights_hash == one.weights_hash);
      }
    }
  }
}

TEST_CASE("another seed, another number of workers, or another interval: other weights") {
  const JobSpec job = local_job("{workers: 4, sync_every: 4}");
  const std::string hash = run_local(job, 2).weights_hash;
  JobSpec other = job;
  other.seed += 1;
  CHECK(run_local(other, 2).weights_hash != hash);
  CHECK(run_local(local_job("{workers: 2, sync_every: 4}"), 2).weights_hash != hash);
  CHECK(run_local(local_job("{workers: 4, sync_every: 5}"), 2).weights_hash != hash);
}

TEST_CASE("one worker is sync, to the bit, however often it is averaged") {
  for (const std::string& optimizer : optimizers) {
    const std::string local = "{workers: 1, sync_every: 3}";
    const JobSpec job = local_job(local, "  clip_grad_norm: 1\n", optimizer);
    CHECK(run_local(job, 1).weights_hash == run_local(in_sync(job), 3).weights_hash);
  }
}

TEST_CASE(
    "one worker whose state is reset is sync up to its first average, also after a warm-up whose state it goes on "
    "with") {
  for (const std::string& optimizer : optimizers) {
    for (const auto& [local, steps] : {std::pair{"{workers: 1, sync_every: 4, worker_state: reset}", 4},
                                       {"{workers: 1, sync_every: 4, worker_state: reset, warmup_sync_steps: 5}", 9}}) {
      const JobSpec job = local_job(local, "", optimizer, steps);
      CHECK(run_local(job, 1).weights_hash == run_local(in_sync(job), 1).weights_hash);
    }
  }
}

TEST_CASE("warm-up is sync with the workers' cut, to the bit") {
  // 16 samples are 4 slices of 2 micro-batches of 2, as in sync; the last step of an epoch is cut otherwise, so none is
  // taken.
  const JobSpec job =
      local_job("{workers: 4, sync_every: 4, warmup_sync_steps: 4}", "", "{name: sgd, lr: 0.1, momentum: 0.9}", 4);
  CHECK(run_local(job, 2).weights_hash == run_local(in_sync(job), 2).weights_hash);
}

TEST_CASE("H = 1 with plain SGD equals sync to rounding, short last steps included") {
  for (const std::int64_t samples : {std::int64_t{75}, std::int64_t{67}}) {
    const JobSpec job = local_job("{workers: 4, sync_every: 1}", "", "{name: sgd, lr: 0.05, weight_decay: 0.001}", 40);
    const std::vector<float> local = weights_of(job, 3, samples), sync = weights_of(in_sync(job), 3, samples);
    CHECK(largest_difference(local, sync) < 2e-6);
    CHECK(largest_difference(local, std::vector<float>(local.size())) > 0.1);
  }
}

}  // namespace dptrain::test
