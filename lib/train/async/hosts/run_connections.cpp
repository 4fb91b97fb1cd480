#include "train/async/hosts/run_connections.h"

#include "train/async/hosts/lost_connection.h"

namespace dptrain {

namespace {

std::vector<ConnectionEnds> ends_of(const Run& run, const AsyncRun& async, const ConnectionNumbers& numbers) {
  std::vector<ConnectionEnds> ends(numbers.count());
  for (std::size_t part = 1; part < async.parts.size(); ++part)
    ends[numbers.commands(part)] = {0, async.parts[part].process};
  for (int rank = 0; rank < run.placement.replicas; ++rank) {
    const int process = run.placement.process_of(rank);
    ends[numbers.replica(rank)] = {0, process};
    for (std::size_t part = 1; part < async.parts.size(); ++part)
      ends[numbers.requests(rank, part)] = {async.parts[part].process, process};
  }
  return ends;
}

/// What becomes of the run where something goes wrong on a thread that is no replica's. The others are told first: they
/// notice what is given up, and would take that for the reason.
std::function<void(std::exception_ptr)> failing(Run& run) {
  return [&run](std::exception_ptr error) {
    run.group.abort(std::move(error));
    fail_together(run);
    run.strategy->abandon(run);
  };
}

std::unique_ptr<ServerCommands> make_commands(Run& run, const AsyncRun& async, const ConnectionNumbers& numbers) {
  std::vector<const Connection*> connections;
  for (std::size_t part = 1; part < async.parts.size(); ++part)
    connections.push_back(async.connections[numbers.commands(part)].get());
  const auto broken = [&run](int process) {
    try {
      connection_is_lost(run, process);
    } catch (const GroupAborted&) {
      run.strategy->abandon(run);
    }
  };
  return std::make_unique<ServerCommands>(async.parts, connections, run.job.train.clip_norm.has_value(), broken,
                                          failing(run));
}

std::unique_ptr<ParameterServer> make_server(Run& run, const AsyncRun& async, std::int64_t version,
                                             std::int64_t gradients) {
  return std::make_unique<ParameterServer>(*async.store, version, gradients, failing(run));
}

}  // namespace

void open_connections(Run& run, AsyncRun& async, std::int64_t version, std::int64_t gradients) {
  const ConnectionNumbers numbers(run.placement.replicas, async.parts.size());
  async.connections = run.processes.connections(ends_of(run, async, numbers));
  if (async.parts.size() == 1) return;
  if (run.processes.rank() == 0) {
    async.commands = make_commands(run, async, numbers);
    return;
  }
  const StorePlace* const kept = async.kept_by(run.processes.rank());
  if (kept == nullptr) return;
  const auto part = static_cast<std::size_t>(kept - async.parts.data());
  std::vector<const Connection*> requests;
  for (int rank = 0; rank < run.placement.replicas; ++rank)
    if (const Connection* connection = async.connections[numbers.requests(rank, part)].get())
      requests.push_back(connection);
  async.server = make_server(run, async, version, gradients);
  async.server->serve(*async.connections[numbers.commands(part)], requests);
}

}  // namespace dptrain
