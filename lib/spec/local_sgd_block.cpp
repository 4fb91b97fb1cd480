// The `local_sgd:` block, and what the mode asks of the rest of the spec.

#include <algorithm>

#include "spec/blocks.h"
#include "spec/names.h"

namespace dptrain {

LocalSgdSpec read_local_sgd(const Value& block) {
  constexpr std::int64_t kMaxWorkers = 4096;
  LocalSgdSpec local;
  MapReader map(block, {.main = "workers"});
  map.optional("workers", local.workers, integer(1, kMaxWorkers));
  constexpr std::int64_t kMaxRound = 100'000;  // what is told of a round is kept until it ends
  map.optional("sync_every", local.sync_every, integer(1, kMaxRound));
  map.optional("worker_state", local.worker_state, choice(names::worker_state));
  map.optional("warmup_sync_steps", local.warmup_sync_steps, integer(0, kMaxCount));
  if (const std::optional<Value> outer = map.take("outer_optimizer"); outer && !outer->is_keyword("none"))
    local.outer_optimizer = read_optimizer(*outer);
  map.take("train");  // is in its place already: spec/mode_settings.h
  local.at = map.at("workers").outlive();
  map.finish();
  return local;
}

void check_local_sgd(const JobSpec& job, Diagnostics& diagnostics) {
  if (job.mode != Mode::local_sgd) return;
  const std::int64_t workers = job.local_sgd.workers, global = job.train.global_batch_size;
  if (workers > global) {
    diagnostics.error(job.local_sgd.at,
                      fmt::format("local_sgd.workers: {} workers, but a step has only {} samples", workers, global),
                      fmt::format("use at most {} workers, or a larger train.global_batch_size", global));
  }
  constexpr const char* kOnlySync = "is for mode: sync";
  if (job.faults.on_nan != OnNan::stop)
    diagnostics.error(job.faults.on_nan_at, fmt::format("faults.on_nan: other than stop it {}", kOnlySync),
                      "--set faults.on_nan=stop is for every mode");
  if (job.faults.on_replica_failure != OnReplicaFailure::stop)
    diagnostics.error(job.faults.on_replica_failure_at,
                      fmt::format("faults.on_replica_failure: continue {}", kOnlySync),
                      "--set faults.on_replica_failure=stop is for every mode");
  if (job.balance != Balance::off)
    diagnostics.error(job.balance_at, fmt::format("balance: auto {}", kOnlySync),
                      "each replica has its workers; they wait for each other only at averages; --set balance=off is "
                      "for every mode");
  const std::int64_t replicas = job.devices.count.value_or(1);
  if (replicas > workers) {
    diagnostics.error(
        job.devices.at,
        fmt::format("devices.count: {} replicas, but local_sgd.workers is {}: some would have nothing to do", replicas,
                    workers),
        fmt::format("use at most {} devices, or set local_sgd.workers to {}, which gives other weights", workers,
                    replicas));
  }
}

std::string local_sgd_text(const LocalSgdSpec& local) {
  const std::string outer = local.outer_optimizer ? optimizer_text(*local.outer_optimizer) : "none";
  return fmt::format(
      "local_sgd: {{workers: {}, sync_every: {}, worker_state: {}, warmup_sync_steps: {}, outer_optimizer: {}}}\n",
      local.workers, local.sync_every, names::worker_state.name_of(local.worker_state), local.warmup_sync_steps, outer);
}

}  // namespace dptrain
