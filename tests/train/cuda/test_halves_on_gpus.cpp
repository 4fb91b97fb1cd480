// Training in bf16 and fp16 on GPUs, on the fake of CUDA: one hash at any number of replicas, a loss like that of fp32,
// and dynamic loss scaling: what it leaves out, what a checkpoint keeps of it, and where it ends.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "support/process.h"
#include "train/backend.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/gpu_modes.h"
#include "train/cuda/small_jobs.h"
#include "train/fit/warnings.h"
#include "train/resumed_runs.h"

namespace dptrain {

using namespace test;

namespace {

constexpr const char *kOne = "{type: cuda, count: 1}", *kTwo = "{type: cuda, count: 2}",
                     *kThree = "{type: cuda, count: 3}", *kShared = "{type: cuda, count: 2, share: true}";

/// So many GPUs, and the job's replicas on them.
struct Machine {
  int gpus;
  const char* devices;
};

JobSpec job_in(const char* precision, const Case& c, const std::string& devices, const std::string& more = "") {
  const std::string train = fmt::format("precision: {}, {}", precision, c.train);
  return job_of({c.name, c.layers, train.c_str()}, devices, more);
}

/// In fp16, with these settings of loss_scale.
JobSpec scaled_job(const Case& c, const std::string& loss_scale, const std::string& devices,
                   const std::string& more = "") {
  const std::string train = fmt::format("precision: fp16, loss_scale: {{{}}}, {}", loss_scale, c.train);
  return job_of({c.name, c.layers, train.c_str()}, devices, more);
}

Summary run_on(int gpus, const JobSpec& job, std::uint64_t seed = 1) {
  const Gpus there(gpus);
  fake_cuda::set_seed(seed);
  return run(job);
}

std::string refusal(const JobSpec& job, int gpus_there) {
  const Gpus gpus(gpus_there);
  return failure_on_gpus(job, memory_pair(43, 70, kShape, 3), ExitStatus::usage);
}

}  // namespace

TEST_CASE("16 bits on GPUs: one hash however many replicas there are, and a loss like that of fp32") {
  for (const char* precision : {"bf16", "fp16"}) {
    for (const Case& c : kCases) {
      CAPTURE(precision);
      CAPTURE(c.name);
      const Summary one = run_on(1, job_in(precision, c, kOne)), floats = run_on(1, job_in("fp32", c, kOne));
      CHECK(one.weights_hash != floats.weights_hash);
      CHECK(one.test_loss == doctest::Approx(floats.test_loss).epsilon(0.1));
      CHECK(one.loss_scale.has_value() == (std::string(precision) == "fp16"));
      for (std::uint64_t seed = 1; seed <= 2; ++seed) {
        CAPTURE(seed);
        CHECK(run_on(1, job_in(precision, c, kShared), seed).weights_hash == one.weights_hash);
        CHECK(run_on(3, job_in(precision, c, kThree), seed).weights_hash == one.weights_hash);
      }
    }
  }
}

TEST_CASE(
    "in 16 bits evaluations move nothing, those of an average neither: recorded steps copy the weights that they "
    "read") {
  for (const char* precision : {"bf16", "fp16"}) {
    for (const Case& c : {kCases[0], kCases[1], kCases[3]}) {  // without an average of the weights, and with one
      const std::string wanted = run_on(1, job_in(precision, c, kOne)).weights_hash;
      // Before a step that is recorded, and not before all that replay it, in one case or another.
      for (const int every : {1, 2, 3, 4}) {
        const std::string evaluate = fmt::format("evaluate: {{every: {} steps}}", every);
        CHECK(run_on(1, job_in(precision, c, kOne, evaluate)).weights_hash == wanted);
        CHECK(run_on(1, job_in(precision, c, kShared, evaluate)).weights_hash == wanted);
      }
    }
  }
}

TEST_CASE("bf16 in modes async and local_sgd: the bits that they promise") {
  for (const char* yaml : {kAsyncMlp, kAsyncCnn}) {
    const std::vector<Override> bf16{{"--set", "train.precision", "bf16"}};
    Summary sync;
    {
      const Gpus gpus(1);
      sync = run_async_job(on_gpus(async_job(yaml, 1, "", bf16), 1));
    }
    for (const int machine : kMachines) {
      const Gpus gpus(machine);
      CHECK(run_async_job(on_gpus(async_job(yaml, 1, "{max_staleness: 0}", bf16), 2)).weights_hash ==
            sync.weights_hash);
    }
  }
  for (const char* local : kLocals) {
    const JobSpec job = local_job(local, "  precision: bf16\n");
    const Gpus gpus(1);
    const std::string wanted = run_local_on_gpus(job, 1).weights_hash;
    for (const std::int64_t replicas : {2, 4}) CHECK(run_local_on_gpus(job, replicas).weights_hash == wanted);
  }
}

TEST_CASE("a scale that is too large is halved, and those steps are left out, the same ones whoever computes them") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const char* const settings = "init_scale: 8388608, growth_interval: 3";
    const Summary one = run_on(1, scaled_job(c, settings, kOne));
    REQUIRE(one.loss_scale);
    CHECK(one.loss_scale->skipped_steps > 0);
    CHECK(one.loss_scale->skipped_steps < one.steps);
    CHECK(one.loss_scale->scale < 8388608);
    CHECK(one.skipped_steps == 0);  // that counts faults
    CHECK(one.faults.empty());
    CHECK(std::isfinite(one.test_loss));
    CHECK(one.weights_hash != run_on(1, scaled_job(c, "init_scale: 64", kOne)).weights_hash);
    for (const Machine& m : {Machine{1, kShared}, Machine{2, kTwo}, Machine{3, kThree}}) {
      CAPTURE(m.devices);
      const Summary s = run_on(m.gpus, scaled_job(c, settings, m.devices), 7);
      CHECK(s.weights_hash == one.weights_hash);
      CHECK(s.loss_scale->scale == one.loss_scale->scale);
      CHECK(s.loss_scale->skipped_steps == one.loss_scale->skipped_steps);
    }
  }
}

TEST_CASE("within the range of half the scale changes the weights no more than rounding does, and grows") {
  const Summary small = run_on(1, scaled_job(kCases[0], "init_scale: 4, growth_interval: 2", kOne)),
                large = run_on(1, scaled_job(kCases[0], "init_scale: 1024, growth_interval: 1000", kOne));
  CHECK(small.loss_scale->scale == 64);  // nine steps
  CHECK(large.loss_scale->scale == 1024);
  CHECK(small.loss_scale->skipped_steps + large.loss_scale->skipped_steps == 0);
  CHECK(small.test_loss == doctest::Approx(large.test_loss).epsilon(0.02));
}

TEST_CASE("stopped and gone on with at other numbers of GPUs: the same bits, and the same scale") {
  const Machine parts[] = {{1, kShared}, {3, kThree}, {1, kOne}, {2, kTwo}};
  for (const Case& c : {kCases[0], kCases[4]}) {
    CAPTURE(c.name);
    const JobSpec job = scaled_job(c, "init_scale: 8388608, growth_interval: 3", kOne, "checkpoint: {every: 2 steps}");
    const Summary whole = run_on(1, job);
    const PartsOfRun run_of{job, kShape, 43, 70};
    const TemporaryFolder folder;
    Summary part;
    for (const Machine& place : parts) {
      const Gpus gpus(place.gpus);
      const bool last = &place == std::end(parts) - 1;
      part = run_of.part(folder.path(), last ? to_the_end : std::int64_t{1}, job_of(c, place.devices).devices);
      CHECK(part.status == (last ? RunStatus::done : RunStatus::stopped));
    }
    CHECK(part.weights_hash == whole.weights_hash);
    CHECK(part.test_loss == whole.test_loss);
    CHECK(part.loss_scale->scale == whole.loss_scale->scale);
    CHECK(part.loss_scale->skipped_steps == whole.loss_scale->skipped_steps);
  }
}

TEST_CASE("gradients that are not finite at the lowest scale end the run, as a fault") {
  for (const Machine& m : {Machine{1, kOne}, Machine{1, kShared}, Machine{3, kThree}}) {
    CAPTURE(m.devices);
    const JobSpec job = scaled_job(kCases[0], "init_scale: 1073741824, min_scale: 536870912", m.devices);
    const Gpus there(m.gpus);
    const std::string message = failure_on_gpus(job, memory_pair(43, 70, kShape, 3), ExitStatus::failed);
    CAPTURE(message);
    CHECK(contains(message, "the gradients are not finite at step 1 "));
    CHECK(contains(message, "though the loss scale is down to 5.36871e+08 (train.loss_scale.min_scale)"));
    CHECK(contains(message, "training has diverged"));
  }
}

TEST_CASE("fp16 where losses are not scaled is refused") {
  const std::string cpu = refusal(job_in("fp16", kCases[0], "{type: cpu, count: 1}"), 1);
  CHECK(contains(cpu, "train.precision: fp16 is for GPUs, and the replicas are on the CPU"));
  for (const char* mode : {"async", "local_sgd"}) {
    const std::string message = refusal(job_in("fp16", kCases[0], kOne, fmt::format("mode: {}", mode)), 1);
    CHECK(contains(message, fmt::format("train.precision: fp16 is for mode sync, and this is mode {}", mode)));
    CHECK(contains(message, "hint: use bf16, which needs no loss scale; or --mode sync"));
  }
}

TEST_CASE("the first step that the scale does not leave out is an average's first, and a momentum's") {
  const auto job = [](const char* dampening, const char* devices, std::int64_t steps) {
    const std::string train = fmt::format(
        "micro_batch_size: 4, ema: {{decay: 0.9}}, optimizer: {{name: sgd, lr: 0.1, momentum: 0.9, dampening: {}}}",
        dampening);
    JobSpec of = scaled_job({"average", kCases[0].layers, train.c_str()}, "init_scale: 8388608", devices);
    of.train.epochs = {};
    of.train.steps = steps;
    return of;
  };
  const std::int64_t skipped = run_on(1, job("0.5", kOne, 9)).loss_scale->skipped_steps;
  REQUIRE(skipped > 0);
  REQUIRE(skipped < 8);
  const std::string undampened = run_on(1, job("0", kOne, skipped + 1)).weights_hash;
  for (const Machine& m : {Machine{1, kOne}, Machine{1, kShared}, Machine{2, kTwo}}) {
    CAPTURE(m.devices);
    const Summary late = run_on(m.gpus, job("0.5", m.devices, skipped + 1));
    CHECK(late.loss_scale->skipped_steps == skipped);
    CHECK(late.ema_test_loss == late.test_loss);
    CHECK(late.weights_hash == undampened);  // the buffer takes the whole of its first gradient
    CHECK(run_on(m.gpus, job("0.5", m.devices, skipped + 2)).weights_hash !=
          run_on(m.gpus, job("0", m.devices, skipped + 2)).weights_hash);
  }
}

TEST_CASE("gradients that travel in bf16 are right to its rounding") {
  for (const char* precision : {"fp32", "fp16"}) {
    for (const Case& c : kCases) {
      CAPTURE(c.name);
      const Summary one = run_on(1, job_in(precision, c, kOne));
      const std::string train = fmt::format("precision: {}, communication: bf16, {}", precision, c.train);
      const Case halves{c.name, c.layers, train.c_str()};
      const Summary three = run_on(3, job_of(halves, kThree, "reproducible: false"));
      CHECK(three.weights_hash != one.weights_hash);
      CHECK(three.test_loss == doctest::Approx(one.test_loss).epsilon(0.05));
    }
  }
}

TEST_CASE("gradients in bf16 where none travel, or where bits are promised, are refused or doubted") {
  const auto with = [](const char* devices, const char* more) {
    return job_of(
        {kCases[0].name, kCases[0].layers, "communication: bf16, micro_batch_size: 4, optimizer: {name: sgd, lr: 0.1}"},
        devices, more);
  };
  CHECK(contains(refusal(with(kOne, ""), 1), "train.communication: bf16 rounds sums on their way"));
  CHECK(contains(refusal(with("{type: cpu, count: 2}", "reproducible: false"), 1), "the replicas are on the CPU"));
  CHECK(contains(refusal(with(kOne, "reproducible: false\nmode: async"), 1), "in mode async they go to the host"));
  const Gpus gpus(1);
  const JobSpec shared = with(kShared, "reproducible: false");
  const Placement placement = place(shared, 43);
  const std::vector<std::string> found = warnings(shared, RunSchedule(shared, 43, 2), placement);
  REQUIRE(found.size() == 1);
  CHECK(contains(found.front(), "all replicas are on one GPU, and nothing travels: it has no effect"));
  CHECK(run(shared).status == RunStatus::done);
}

TEST_CASE("copies in 16 bits are counted, and activations take half") {
  const Gpus gpus(1);
  const std::int64_t batches[] = {16, 3};
  const auto plan = [&](const char* precision, const Case& c = kCases[1]) {
    const JobSpec job = job_in(precision, c, kOne);
    return make_backend(job, place(job, 100))->plan(batches);
  };
  const ModelPlan floats = plan("fp32"), halves = plan("bf16");
  CHECK(floats.copy_bytes >= std::int64_t{32}
                                 << 20);  // what the libraries' products and convolutions work in, and no copies
  const ModelPlan products = plan("fp32", kCases[0]),
                  narrow = plan("bf16", kCases[0]);  // with one and the same workspace
  CHECK(narrow.copy_bytes - products.copy_bytes >= 2 * narrow.parameters.elements());
  CHECK(halves.activation_bytes < 0.6 * static_cast<double>(floats.activation_bytes));
  CHECK(plan("fp16").copy_bytes == halves.copy_bytes);
}

}  // namespace dptrain
