// Mode async on GPUs, on the fake of CUDA: sync's bits where nothing may be stale, the bound, replays, faults, and that
// no wait is missing, which the fake's random scheduler would show.
#include <cmath>
#include <cstdint>
#include <numeric>

#include "support/process.h"
#include "train/async/record/record.h"
#include "train/async/record/replay.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/gpu_modes.h"

namespace dptrain::test {

namespace {

std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

}  // namespace

TEST_CASE("async with max_staleness 0 has the bits of sync on GPUs, however many there are and whatever runs first") {
  for (const char* yaml : {kAsyncMlp, kAsyncCnn}) {
    Summary sync;
    {
      const Gpus gpus(1);
      sync = run_async_job(on_gpus(async_job(yaml, 1, ""), 1));
    }
    std::uint64_t seed = 0;
    for (const int machine : kMachines) {
      const Gpus gpus(machine);
      for (const std::int64_t replicas : {1, 2, 4}) {
        CAPTURE(machine);
        CAPTURE(replicas);
        fake_cuda::set_seed(++seed);
        const char* const block =
            seed % 2 == 0 ? "{max_staleness: 0, shards: 2}" : "{max_staleness: 0, on_stale: scale}";
        const Summary s = run_async_job(on_gpus(async_job(yaml, 1, block), replicas));
        CHECK(s.weights_hash == sync.weights_hash);
        CHECK(s.test_loss == sync.test_loss);
        CHECK(s.final_loss == sync.final_loss);
        CHECK(s.device_type == "cuda");
        CHECK(s.devices == std::min<std::int64_t>(machine, replicas));
        CHECK(s.async->versions == s.steps);
      }
    }
  }
}

TEST_CASE("async on GPUs: the bound holds, every gradient counts, and the loss is like the CPU's") {
  constexpr std::int64_t kGradients = 3 * 11;
  const Gpus gpus(2);
  std::uint64_t seed = 0;
  for (const char* updates : {"locked", "hogwild"}) {
    for (const char* on_stale : {"wait", "drop", "scale"}) {
      fake_cuda::set_seed(++seed);
      const std::string block = fmt::format("{{max_staleness: 2, on_stale: {}, updates: {}}}", on_stale, updates);
      const JobSpec job = async_job(kAsyncMlp, 3, block);
      const Summary gpu = run_async_job(on_gpus(job, 3)), cpu = run_async_job(job);
      REQUIRE(gpu.async);
      CHECK(gpu.async->max_staleness <= 2);
      CHECK(sum(gpu.async->histogram) + gpu.async->dropped == kGradients);
      CHECK(gpu.final_loss == doctest::Approx(cpu.final_loss).epsilon(0.2));
      CHECK(gpu.samples == cpu.samples);
    }
  }
}

TEST_CASE("runs on GPUs are replayed on others to the recorded hash") {
  const char* const blocks[] = {"{record: true}", "{record: true, max_staleness: 1, shards: 3}",
                                "{record: true, max_staleness: 1, on_stale: drop, updates_per_apply: 2}",
                                "{record: true, max_staleness: 8, on_stale: scale}",
                                "{record: true, fallback: {if_loss_above: 0.01}}"};
  std::uint64_t seed = 0;
  for (const char* block : blocks) {
    CAPTURE(block);
    const JobSpec job =
        async_job(++seed % 2 == 0 ? kAsyncMlp : kAsyncCnn, 1, block, {{"--set", "log.every", "2 steps"}});
    const TemporaryFolder folder;
    Summary recorded;
    {
      const Gpus gpus(2);
      fake_cuda::set_seed(seed);
      recorded = run_async_job(on_gpus(job, 3), {.checkpoints = {.run_folder = folder.path()}});
    }
    const Gpus gpus(kMachines[seed % std::size(kMachines)]);
    for (const std::int64_t replicas : {1, 2, 4}) {
      const ReplayResult result = replay(on_gpus(job, replicas), async_data(), record_file(folder.path()));
      CHECK(result.weights_hash == recorded.weights_hash);
      CHECK(result.versions == recorded.async->versions);
      CHECK(result.dropped == recorded.async->dropped);
    }
  }
}

TEST_CASE("drills on GPUs: a gradient that is not a number is found or left out, a replica fails, one is slow") {
  const Gpus gpus(1);
  const auto drill = [](const char* what) {
    return Override{"--set", "drills", fmt::format("[{{at_step: 3, replica: 0, do: {}}}]", what)};
  };
  // One replica: of several, none need come to the step of its drill.
  const std::string stopped =
      failure_on_gpus(on_gpus(async_job(kAsyncMlp, 1, "{}", {drill("nan")}), 1), async_data(), ExitStatus::failed);
  CHECK(contains(stopped, "the gradient of 4.weight is not finite at step "));
  CHECK(contains(stopped, "on replica 0: training has diverged"));
  const Summary skipped = run_async_job(
      on_gpus(async_job(kAsyncMlp, 1, "{max_staleness: 1}", {drill("nan"), {"--set", "faults.on_nan", "skip"}}), 1));
  CHECK(skipped.async->skipped == 1);
  CHECK(skipped.async->versions == 32);
  CHECK(std::isfinite(skipped.final_loss));
  CHECK(contains(
      failure_on_gpus(on_gpus(async_job(kAsyncMlp, 1, "{}", {drill("throw")}), 1), async_data(), ExitStatus::failed),
      "replica 0 failed in step "));
  CHECK(run_async_job(on_gpus(async_job(kAsyncMlp, 2, "{max_staleness: 0}", {drill("slow, factor: 1.5")}), 2))
            .weights_hash == run_async_job(on_gpus(async_job(kAsyncMlp, 1, "{max_staleness: 0}"), 1)).weights_hash);
}

}  // namespace dptrain::test
