// Purpose: `mode: async`: every replica takes the next micro-batch, reads the store, computes and pushes, and goes on;
//   at points of rest nothing is in the air, and there the run is evaluated and saved. Among several processes the
//   first one hands out micro-batches and tickets, and the replicas of the others compute for it; every host keeps a
//   part of the store.
// Thread safety: run_async() is called by all replicas' threads together; what of an AsyncRun is written at rest is
//   written by the leader between two barriers, the rest is guarded as said. Invariants: points of rest lie between
//   steps.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "comm/connection.h"
#include "data/shared_loader.h"
#include "train/async/async_memory.h"
#include "train/async/dispatcher.h"
#include "train/async/hosts/parameter_server.h"
#include "train/async/hosts/server_commands.h"
#include "train/async/hosts/store_places.h"
#include "train/async/record/record.h"
#include "train/async/step_collector.h"
#include "train/async/version_rates.h"
#include "train/run.h"

namespace dptrain {

/// What the replicas of an asynchronous run share besides the Run.
struct AsyncRun {
  explicit AsyncRun(const Run& run);

  MicroBatchPlaces places;
  RestPlan rests;
  std::int64_t per_version;  // gradients that make a version
  VersionRates rates;
  std::optional<AsyncMemory> memory;
  std::span<float> weights{};     // as this host sees them: its part is the store's, the rest as of the last rest
  std::vector<StorePlace> parts;  // one where there is one host
  std::unique_ptr<Store> store;   // with this host's part, in its first process
  std::vector<Buffer> states;     // the first process's, with other parts: all of the optimizer's, as of the last rest
  std::vector<std::unique_ptr<Connection>> connections;  // see run_connections.h
  // The first process's alone; the others compute for it.
  std::unique_ptr<Dispatcher> dispatcher;
  std::unique_ptr<SharedLoader> loader;  // where the replicas want it
  std::unique_ptr<RecordWriter> record;  // where the job asks for one, and there is a run folder

  std::mutex reporting;  // guards the Progress, the run's times, faults and skips, and these
  std::optional<StepCollector> collector;
  bool loss_is_above = false;  // the band: at the next rest the run falls back

  // Written at rest; `reached` is the same in all processes, the rest is the first one's.
  std::int64_t segment = 0;  // the first micro-batch after the last rest
  std::int64_t reached = 0;  // step
  std::int64_t fallback_step = -1, fallback_version = -1;

  // Their threads end before anything of this does: see UpdateStrategy::end().
  std::unique_ptr<ParameterServer> server;   // where a part but the first is kept
  std::unique_ptr<ServerCommands> commands;  // the first process's, where there are other parts

  /// All shards, wherever they are.
  std::size_t shards() const { return static_cast<std::size_t>(parts.back().shards.last); }
  /// The part that this process keeps; null: none.
  const StorePlace* kept_by(int process) const;
  /// The norm of a version's mean gradient, which may take others to know; see StoreConfig::norm.
  double norm(std::int64_t version, const std::vector<double>& squares);

  /// Of the coming version.
  double rate() const {
    const StalenessCounts counts = dispatcher->counts();
    return rates.rate(dispatcher->version(), counts.dropped + counts.skipped);
  }
  bool fallen_back() const { return fallback_step >= 0; }
  /// Where a run that is asked to stop rests, once all micro-batches before `next` were begun: after the step that goes
  /// on, and after at least one.
  std::int64_t stop_at(std::int64_t next) const;
};

/// The versions that an asynchronous run has made and how stale its gradients were, for reports.
AsyncReport report_of(const AsyncRun& async);
/// The ledger's rules of the job as it begins, or after it fell back.
LedgerRules rules_of(const AsyncSpec& spec, std::int64_t per_version);
LedgerRules synchronous_rules(std::int64_t micro_batches);

/// A step's micro-batches have all ended. Under `reporting`.
void step_done(Run& run, AsyncRun& async, std::int64_t step, const StepCollector::Step& done);

/// Steps run.first to run.end. Errors: what ends the run.
void run_async(Run& run, AsyncRun& async, int rank, Replica& replica);

}  // namespace dptrain
