#include "train/async/hosts/run_lines.h"

#include "train/async/hosts/broken_line.h"

namespace dptrain {

namespace {

std::vector<LineEnds> ends_of(const Run& run, const AsyncRun& async, const LineNumbers& numbers) {
  std::vector<LineEnds> ends(numbers.count());
  for (std::size_t part = 1; part < async.parts.size(); ++part)
    ends[numbers.orders(part)] = {0, async.parts[part].process};
  for (int rank = 0; rank < run.placement.replicas; ++rank) {
    const int process = run.placement.process_of(rank);
    ends[numbers.replica(rank)] = {0, process};
    for (std::size_t part = 1; part < async.parts.size(); ++part)
      ends[numbers.requests(rank, part)] = {async.parts[part].process, process};
  }
  return ends;
}

/// What becomes of the run where something goes wrong on a thread that is no replica's. The others are told first: they notice what
/// is given up, and would take that for the reason.
std::function<void(std::exception_ptr)> failing(Run& run) {
  return [&run](std::exception_ptr error) {
    run.group.abort(std::move(error));
    fail_together(run);
    run.strategy->abandon(run);
  };
}

std::unique_ptr<PartOrders> make_orders(Run& run, const AsyncRun& async, const LineNumbers& numbers) {
  std::vector<const Line*> lines;
  for (std::size_t part = 1; part < async.parts.size(); ++part)
    lines.push_back(async.lines[numbers.orders(part)].get());
  const auto broken = [&run](int process) {
    try {
      line_is_broken(run, process);
    } catch (const GroupAborted&) {
      run.strategy->abandon(run);
    }
  };
  return std::make_unique<PartOrders>(async.parts, lines, run.job.train.clip_norm.has_value(), broken, failing(run));
}

std::unique_ptr<PartKeeper> make_keeper(Run& run, const AsyncRun& async, std::int64_t version, std::int64_t gradients) {
  return std::make_unique<PartKeeper>(*async.store, version, gradients, failing(run));
}

}  // namespace

void open_lines(Run& run, AsyncRun& async, std::int64_t version, std::int64_t gradients) {
  const LineNumbers numbers(run.placement.replicas, async.parts.size());
  async.lines = run.processes.lines(ends_of(run, async, numbers));
  if (async.parts.size() == 1) return;
  if (run.processes.rank() == 0) {
    async.orders = make_orders(run, async, numbers);
    return;
  }
  const StorePlace* const kept = async.kept_by(run.processes.rank());
  if (kept == nullptr) return;
  const auto part = static_cast<std::size_t>(kept - async.parts.data());
  std::vector<const Line*> requests;
  for (int rank = 0; rank < run.placement.replicas; ++rank)
    if (const Line* line = async.lines[numbers.requests(rank, part)].get()) requests.push_back(line);
  async.keeper = make_keeper(run, async, version, gradients);
  async.keeper->serve(*async.lines[numbers.orders(part)], requests);
}

}  // namespace dptrain
