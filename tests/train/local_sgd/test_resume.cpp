// A run that stops at averages and goes on with other replicas has the bits of one that was never stopped.
#include <doctest/doctest.h>

#include <bit>

#include "train/local_sgd/local_jobs.h"
#include "train/resumed_runs.h"

namespace dptrain::test {

namespace {

void check_parts(const JobSpec& job, std::int64_t samples_a_part) {
  JobSpec alone = job;
  alone.devices = {.type = DeviceType::cpu, .count = 1, .at = {}};
  const PartsOfRun parts{alone, local_input, 75, 40};
  const Summary whole = parts.whole();
  const TemporaryFolder folder;
  int stops = 0;
  for (std::int64_t replicas = 1;; replicas = replicas % 4 + 1, ++stops) {
    const DevicesSpec devices{.type = DeviceType::cpu, .count = replicas, .at = {}};
    const Summary part = parts.part(folder.path(), stops < 6 ? samples_a_part : to_the_end, devices);
    if (part.status == RunStatus::stopped) continue;
    CHECK(part.weights_hash == whole.weights_hash);
    CHECK(std::bit_cast<std::uint64_t>(part.test_loss) == std::bit_cast<std::uint64_t>(whole.test_loss));
    CHECK(part.steps == whole.steps);
    CHECK(part.local_sgd->averages == whole.local_sgd->averages);
    break;
  }
  CHECK(stops >= 2);
}

}  // namespace

TEST_CASE("resumed runs: worker states averaged, kept and reset, outer optimizers, stops in warm-up too") {
  for (const std::string local :
       {"{sync_every: 4}", "{sync_every: 3, worker_state: keep}", "{sync_every: 4, worker_state: reset}",
        "{sync_every: 3, worker_state: keep, warmup_sync_steps: 5}",
        "{sync_every: 4, worker_state: keep, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9, nesterov: true}}",
        "{sync_every: 4, warmup_sync_steps: 3, outer_optimizer: {name: adam, lr: 0.01}}"}) {
    for (const std::string optimizer : {"{name: sgd, lr: 0.05, momentum: 0.9}", "{name: adam, lr: 0.01}"}) {
      CAPTURE(local);
      CAPTURE(optimizer);
      check_parts(local_job(local, "  lr_schedule: {name: cosine, warmup_steps: 3}\n", optimizer), 40);
    }
  }
}

}  // namespace dptrain::test
