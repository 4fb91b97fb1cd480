// Whole runs on a real GPU: agreement with the CPU, and equal weights however many replicas share it.
#include <doctest/doctest.h>

#include "train/cuda/small_jobs.h"

namespace dptrain {

using namespace test;

TEST_CASE("a GPU trains as the CPU does, to rounding, and shared by two or three replicas to the bit") {
  for (const Case& c : kCases) {
    CAPTURE(std::string(c.name));
    const Summary cpu = run(job_of(c, "{type: cpu, count: 1}")), gpu = run(job_of(c, "{type: cuda, count: 1}"));
    CHECK(gpu.device_type == "cuda");
    CHECK(gpu.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
    CHECK(run(job_of(c, "{type: cuda, count: 1}")).weights_hash == gpu.weights_hash);
    for (const int replicas : {2, 3}) {
      const std::string shared = fmt::format("{{type: cuda, count: {}, share: true}}", replicas);
      CHECK(run(job_of(c, shared)).weights_hash == gpu.weights_hash);
    }
  }
}

TEST_CASE("in 16 bits a GPU trains as in fp32, to rounding, and shared by two or three replicas to the bit") {
  for (const char* precision : {"bf16", "fp16"}) {
    for (const Case& c : kCases) {
      CAPTURE(precision);
      CAPTURE(std::string(c.name));
      const std::string train = fmt::format("precision: {}, {}", precision, c.train);
      const Case halves{c.name, c.layers, train.c_str()};
      const Summary floats = run(job_of(c, "{type: cuda, count: 1}")),
                    one = run(job_of(halves, "{type: cuda, count: 1}"));
      CHECK(one.test_loss == doctest::Approx(floats.test_loss).epsilon(0.1));
      for (const int replicas : {2, 3}) {
        const std::string shared = fmt::format("{{type: cuda, count: {}, share: true}}", replicas);
        CHECK(run(job_of(halves, shared)).weights_hash == one.weights_hash);
      }
      for (const char* evaluated : {"evaluate: {every: 1 steps}", "evaluate: {every: 3 steps}"})
        CHECK(run(job_of(halves, "{type: cuda, count: 1}", evaluated)).weights_hash == one.weights_hash);
    }
  }
}

TEST_CASE("on a GPU a loss scale that is too large is halved, the same number of times with several replicas") {
  const auto scaled = [](const char* devices) {
    const std::string train =
        fmt::format("precision: fp16, loss_scale: {{init_scale: 8388608, growth_interval: 3}}, {}", kCases[1].train);
    return run(job_of({kCases[1].name, kCases[1].layers, train.c_str()}, devices));
  };
  const Summary one = scaled("{type: cuda, count: 1}"), shared = scaled("{type: cuda, count: 3, share: true}");
  REQUIRE(one.loss_scale);
  CHECK(one.loss_scale->skipped_steps > 0);
  CHECK(shared.weights_hash == one.weights_hash);
  CHECK(shared.loss_scale->scale == one.loss_scale->scale);
  CHECK(shared.loss_scale->skipped_steps == one.loss_scale->skipped_steps);
}

TEST_CASE("norms over the step on a GPU: the CPU's result to rounding, and one hash however many replicas share it") {
  const Summary cpu = run(job_of(kNormsOverTheStep, "{type: cpu, count: 2}")),
                one = run(job_of(kNormsOverTheStep, "{type: cuda, count: 1}"));
  CHECK(one.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
  for (const int replicas : {2, 3}) {
    const std::string shared = fmt::format("{{type: cuda, count: {}, share: true}}", replicas);
    CHECK(run(job_of(kNormsOverTheStep, shared)).weights_hash == one.weights_hash);
  }
}

TEST_CASE("on a GPU a step that is not finite is left out, or gone back from without a trace; looking changes no bit") {
  const std::string bad = "drills: [{at_step: 5, replica: 0, do: nan}]\n",
                    back = bad + "checkpoint: {every: 2 steps}\nfaults: {on_nan: rollback, rollback_lr_factor: 1}";
  for (const Case& c : {kCases[1], kNormsOverTheStep}) {
    CAPTURE(std::string(c.name));
    const std::string wanted = run(job_of(c, "{type: cuda, count: 1}")).weights_hash;
    std::string left_out;
    for (const int replicas : {1, 2}) {
      const std::string shared = fmt::format("{{type: cuda, count: {}, share: true}}", replicas);
      CHECK(run(job_of(c, shared, "faults: {on_nan: skip}")).weights_hash == wanted);
      CHECK(run(job_of(c, shared, back)).weights_hash == wanted);
      const Summary skipped = run(job_of(c, shared, bad + "faults: {on_nan: skip}"));
      CHECK(skipped.skipped_steps == 1);
      if (left_out.empty()) left_out = skipped.weights_hash;
      CHECK(skipped.weights_hash == left_out);
    }
  }
}

TEST_CASE("while replicas that share a GPU are slow by turns, micro-batches move between them, and no bit changes") {
  const auto long_run = [](const Case& c, const std::string& devices, const char* more) {
    JobSpec job = job_of(c, devices, more);
    job.train.epochs = 20;  // of two full steps each
    return run(job).weights_hash;
  };
  for (const Case& c : {kCases[1], kNormsOverTheStep}) {
    CAPTURE(std::string(c.name));
    const std::string wanted = long_run(c, "{type: cuda, count: 1}", "");
    for (const int replicas : {2, 3}) {
      CHECK(long_run(c, fmt::format("{{type: cuda, count: {}, share: true}}", replicas),
                     "balance: auto\ndrills: [{at_step: 0, replica: 1, do: slow, factor: 8}, {at_step: 26, replica: 0, "
                     "do: slow, factor: 60}]") == wanted);
    }
  }
}

TEST_CASE("samples of odd sizes on a GPU") {
  const auto run_odd = [](const std::string& devices) {
    Reporter silent;
    return train(odd_job(devices), memory_pair(43, 70, Shape{1, 5, 5}, 3), silent);
  };
  CHECK(run_odd("{type: cuda, count: 1}").test_loss ==
        doctest::Approx(run_odd("{type: cpu, count: 1}").test_loss).epsilon(1e-3));
}

}  // namespace dptrain
