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

TEST_CASE("samples of odd sizes on a GPU") {
  const auto run_odd = [](const std::string& devices) {
    Reporter silent;
    return train(odd_job(devices), memory_pair(43, 70, Shape{1, 5, 5}, 3), silent);
  };
  CHECK(run_odd("{type: cuda, count: 1}").test_loss ==
        doctest::Approx(run_odd("{type: cpu, count: 1}").test_loss).epsilon(1e-3));
}

}  // namespace dptrain
