// A run that stops at averages and goes on with other replicas has the bits of one that was never stopped.
#include <doctest/doctest.h>

#include <bit>

#include "train/local_sgd/local_jobs.h"
#include "train/local_sgd/local_sgd.h"
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
        "{sync_every: 4, worker_state: reset, warmup_sync_steps: 5, outer_optimizer: {name: adam, lr: 0.01}}",
        "{sync_every: 4, worker_state: keep, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9, nesterov: true}}",
        "{sync_every: 4, warmup_sync_steps: 3, outer_optimizer: {name: adam, lr: 0.01}}"}) {
    for (const std::string optimizer : {"{name: sgd, lr: 0.05, momentum: 0.9}", "{name: adam, lr: 0.01}"}) {
      CAPTURE(local);
      CAPTURE(optimizer);
      check_parts(local_job(local, "  lr_schedule: {name: cosine, warmup_steps: 3}\n", optimizer), 40);
    }
  }
}

TEST_CASE("a run that was made longer inside a round: stopped and gone on with it has one hash as well") {
  for (const std::string state : {"average", "keep", "reset"}) {
    CAPTURE(state);
    const std::string local = "{sync_every: 4, worker_state: " + state + ", outer_optimizer: {name: adam, lr: 0.01}}";
    const std::string adam = "{name: adam, lr: 0.01}";
    JobSpec shorter = local_job(local, "", adam, 10), longer = local_job(local, "", adam, 23);
    const DevicesSpec one{.type = DeviceType::cpu, .count = 1, .at = {}},
        three{.type = DeviceType::cpu, .count = 3, .at = {}};
    const PartsOfRun first{shorter, local_input, 75, 40}, second{longer, local_input, 75, 40};
    std::string hash;
    for (const std::int64_t samples : {to_the_end, std::int64_t{40}}) {
      const TemporaryFolder folder;
      CHECK(first.part(folder.path(), to_the_end, one).steps == 10);
      Summary last = second.part(folder.path(), samples, three);
      CHECK((last.status == RunStatus::stopped) == (samples == 40));
      if (samples == 40) last = second.part(folder.path(), to_the_end, one);
      CHECK(last.steps == 23);
      CHECK(last.local_sgd->averages == 7);  // after 4, 8, 10, 12, 16, 20 and 23 steps
      if (hash.empty()) hash = last.weights_hash;
      CHECK(last.weights_hash == hash);
    }
  }
}

TEST_CASE("updates that an optimizer's state has seen: since the average that made it zero, where that does") {
  JobSpec job = local_job("{workers: 2, sync_every: 4, worker_state: reset, warmup_sync_steps: 3}");
  job.devices.count = 1;
  const RunSchedule schedule(job, 75, 1);
  const LocalSgdConfig config{
      .job = job, .schedule = schedule, .workers = {.spec = job.local_sgd, .floats = 64, .state_buffers = 2}};
  LocalSgdConfig later = config;
  later.first = 9;
  later.averages = 2;
  const LocalSgd whole(config), longer(later);
  for (std::int64_t step = 3; step < 7; ++step) CHECK(whole.updates(0, step) == step);  // warm-up's state goes on
  for (std::int64_t step = 7; step < 11; ++step) CHECK(whole.updates(0, step) == step - 7);
  CHECK(longer.updates(0, 9) == 0);  // its average after 9 steps was not planned
  CHECK(longer.updates(0, 10) == 1);
  CHECK(longer.updates(0, 11) == 0);
  CHECK(longer.begins_inside_a_round());
  CHECK_FALSE(whole.begins_inside_a_round());
}

}  // namespace dptrain::test
