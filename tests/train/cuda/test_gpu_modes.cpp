// Modes async and local_sgd on a real GPU: the bits that they promise, however many replicas share it.
#include <cstdint>

#include "support/process.h"
#include "train/async/record/record.h"
#include "train/async/record/replay.h"
#include "train/cuda/gpu_modes.h"

namespace dptrain::test {

TEST_CASE("async with max_staleness 0 has the bits of sync on a GPU, at 1, 2 and 4 replicas") {
  for (const char* yaml : {kAsyncMlp, kAsyncCnn}) {
    const Summary sync = run_async_job(on_gpus(async_job(yaml, 1, ""), 1));
    for (const std::int64_t replicas : {1, 2, 4}) {
      CAPTURE(replicas);
      const Summary s = run_async_job(on_gpus(async_job(yaml, 1, "{max_staleness: 0}"), replicas));
      CHECK(s.weights_hash == sync.weights_hash);
      CHECK(s.test_loss == sync.test_loss);
      CHECK(s.device_type == "cuda");
    }
  }
}

TEST_CASE("a run on a GPU is replayed there to the recorded hash, at 1, 2 and 4 replicas") {
  const JobSpec job = async_job(kAsyncCnn, 1, "{record: true}");
  const TemporaryFolder folder;
  const Summary recorded = run_async_job(on_gpus(job, 3), {.checkpoints = {.run_folder = folder.path()}});
  for (const std::int64_t replicas : {1, 2, 4}) {
    const ReplayResult result = replay(on_gpus(job, replicas), async_data(), record_file(folder.path()));
    CHECK(result.weights_hash == recorded.weights_hash);
  }
}

TEST_CASE("local SGD on a GPU: one hash at 1, 2 and 4 replicas; the CPU's result, to rounding") {
  for (const char* local : kLocals) {
    CAPTURE(local);
    const JobSpec job = local_job(local, "  clip_grad_norm: 1\n");
    const Summary one = run_local_on_gpus(job, 1);
    CHECK(one.test_loss == doctest::Approx(run_local(job, 1).test_loss).epsilon(1e-3));
    for (const std::int64_t replicas : {2, 4}) {
      if (replicas == 4 && job.local_sgd.warmup_sync_steps > 0) continue;  // on two GPUs it would be refused
      CHECK(run_local_on_gpus(job, replicas).weights_hash == one.weights_hash);
    }
  }
}

}  // namespace dptrain::test
