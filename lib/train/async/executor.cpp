#include "train/async/executor.h"

#include "core/clock.h"
#include "train/async/hosts/lost_connection.h"
#include "train/async/hosts/parameter_client.h"
#include "train/async/hosts/run_connections.h"

namespace dptrain {

namespace {

/// How a replica of this process reaches the parts of the store that other hosts keep.
ParameterClient client_of(Run& run, AsyncRun& async, int rank) {
  const ConnectionNumbers numbers(run.placement.replicas, async.parts.size());
  std::vector<const Connection*> connections;
  for (std::size_t part = 1; part < async.parts.size(); ++part)
    connections.push_back(async.connections[numbers.requests(rank, part)].get());
  return {async.parts, connections, async.server.get(), [&run](int process) { connection_is_lost(run, process); }};
}

/// A replica of this process, with what the drills do to it.
class LocalExecutor final : public Executor {
 public:
  LocalExecutor(Run& run, AsyncRun& async, int rank, Replica& replica)
      : Executor(rank, async.memory->reading(rank)),
        run_(run),
        async_(async),
        replica_(replica),
        others_(client_of(run, async, rank)),
        drilled_(run.first) {}

  Replica::Gradient gradient(const Dispatcher::Work& work, const std::function<void()>& read) override {
    const MicroBatchPlace place = async_.places.at(work.index);
    const MicroBatch& part = run_.schedule.plan(place.step).micro_batches[static_cast<std::size_t>(place.micro_batch)];
    GradientTask task{.step = place.step,
                      .first = part.first,
                      .count = part.count,
                      .weights = weights(),
                      .version = work.index,
                      .gradient = work.gradient};
    try {
      if (run_.watchdog) run_.watchdog->begin(rank(), place.step);
      if (run_.leads(rank())) run_.processes.at_step(place.step);
      const double start = steady_seconds();
      std::optional<SharedLoader::Lease> lease;
      if (async_.loader) task.batch = &lease.emplace(async_.loader->take(work.index)).batch();
      const double loaded = steady_seconds();
      waiting([&] { read(); });
      for (; drilled_ <= place.step; ++drilled_) {
        run_.drills.before(rank(), drilled_);
        task.poison = run_.drills.poisons(rank(), drilled_) || task.poison;
      }
      Replica::Gradient gradient = replica_.gradient(task);
      gradient.data += loaded - start;
      Replica::Times times{.data = gradient.data, .compute = gradient.compute};
      linger(run_.drills.slowness(rank(), place.step), times);
      gradient.compute = times.compute;
      if (gradient.is_finite()) waiting([&] { others_.push(work.gradient, work.buffer); });
      if (run_.watchdog) run_.watchdog->end(rank());
      return gradient;
    } catch (const GroupAborted&) {
      throw;
    } catch (...) {
      if (run_.watchdog) run_.watchdog->end(rank());
      run_.faults.failed(rank(), place.step, std::current_exception());
      throw replica_error(rank(), place.step, std::current_exception());
    }
  }

  void read_other_parts(const Dispatcher::Work& work, std::span<std::int64_t> read) override {
    others_.pull(weights(), work.version, read);
  }

  const Parameter* not_finite(const Dispatcher::Work& work) const override {
    return first_not_finite(replica_.parameters(), work.gradient);
  }

 private:
  /// For others, who may be late while this replica is not.
  template <class Wait>
  void waiting(const Wait& wait) {
    if (run_.watchdog) run_.watchdog->pause(rank());
    wait();
    if (run_.watchdog) run_.watchdog->resume(rank());
  }

  Run& run_;
  AsyncRun& async_;
  Replica& replica_;
  const ParameterClient others_;
  std::int64_t drilled_;  // steps whose drills it has had
};

// What goes over a connection, in this order; then the next micro-batch. Where memory is not shared the first part of
// the weights follows Go, and that of the gradient follows Done.

struct Begin {
  std::int64_t index;  // kRest: none
  std::int32_t buffer;
};
constexpr std::int64_t kRest = -1;
/// Its samples are there.
struct Ready {
  std::int32_t unused;
};
/// The first part of the weights is. Answered, where there are other parts, with the versions of their shards.
struct Go {
  std::int64_t version;  // see Work
};
struct Done {
  Replica::Gradient gradient;
  std::int32_t stop;        // the signal that asks that process for it; 0: none
  std::int32_t not_finite;  // the number of the first parameter of which something is not finite; -1: none
};

class RemoteExecutor final : public Executor {
 public:
  RemoteExecutor(Run& run, AsyncRun& async, int rank)
      : Executor(rank, async.memory->reading(rank)),
        run_(run),
        async_(async),
        process_(run.placement.process_of(rank)),
        connection_(*async.connections[static_cast<std::size_t>(rank)]),
        shares_(async.memory->is_near(process_)),
        bytes_(static_cast<std::size_t>(async.parts.front().floats.count()) * sizeof(float)),
        drilled_(run.first) {}

  Replica::Gradient gradient(const Dispatcher::Work& work, const std::function<void()>& read) override {
    // Which gradients are spoilt there is a part of the run's state, which is saved here.
    for (const std::int64_t step = async_.places.at(work.index).step; drilled_ <= step; ++drilled_)
      static_cast<void>(run_.drills.poisons(rank(), drilled_));
    over(run_, process_, [&] {
      connection_.send(Begin{work.index, work.buffer});
      static_cast<void>(connection_.receive<Ready>());
    });
    read();
    const Done done = over(run_, process_, [&] {
      const Done answer = connection_.receive<Done>();
      if (!shares_) connection_.receive(work.gradient, bytes_);
      return answer;
    });
    if (done.stop != 0) async_.dispatcher->stop();
    not_finite_ = done.not_finite;
    return done.gradient;
  }

  void read_other_parts(const Dispatcher::Work& work, std::span<std::int64_t> read) override {
    over(run_, process_, [&] {
      connection_.send(Go{work.version});
      if (!shares_) connection_.send(weights(), bytes_);
      if (!read.empty()) connection_.receive(read.data(), read.size_bytes());
    });
  }

  const Parameter* not_finite(const Dispatcher::Work&) const override {
    return not_finite_ < 0 ? nullptr
                           : &run_.replicas.front()->parameters().all()[static_cast<std::size_t>(not_finite_)];
  }

  void rest() override {
    over(run_, process_, [&] { connection_.send(Begin{kRest, 0}); });
  }

 private:
  Run& run_;
  AsyncRun& async_;
  const int process_;
  const Connection& connection_;
  const bool shares_;
  const std::size_t bytes_;  // of the first part
  std::int64_t drilled_;
  int not_finite_ = -1;
};

}  // namespace

std::unique_ptr<Executor> make_executor(Run& run, AsyncRun& async, int rank, Replica& replica) {
  return std::make_unique<LocalExecutor>(run, async, rank, replica);
}

std::unique_ptr<Executor> make_remote_executor(Run& run, AsyncRun& async, int rank) {
  return std::make_unique<RemoteExecutor>(run, async, rank);
}

void serve(Run& run, AsyncRun& async, int rank, Replica& replica) {
  LocalExecutor me(run, async, rank, replica);
  const Connection& connection = *async.connections[static_cast<std::size_t>(rank)];
  const bool shares = async.memory->is_near(run.processes.rank());
  const std::size_t bytes = static_cast<std::size_t>(async.parts.front().floats.count()) * sizeof(float);
  std::vector<std::int64_t> read(async.shards() - static_cast<std::size_t>(async.parts.front().shards.count()));
  Buffer own;  // a gradient
  for (;;) {
    const auto begin = over(run, 0, [&] { return connection.receive<Begin>(); });
    if (begin.index == kRest) return;
    Buffer gradient = shares || own.size() == 0 ? async.memory->gradient(begin.buffer) : std::move(own);
    Dispatcher::Work work{.index = begin.index, .buffer = begin.buffer, .gradient = gradient.floats()};
    const Replica::Gradient result = me.gradient(work, [&] {
      over(run, 0, [&] {
        connection.send(Ready{});
        work.version = connection.receive<Go>().version;
        if (!shares) connection.receive(me.weights(), bytes);
      });
      me.read_other_parts(work, read);
      if (!read.empty()) over(run, 0, [&] { connection.send(read.data(), read.size() * sizeof(std::int64_t)); });
    });
    const Parameter* const parameter = result.is_finite() ? nullptr : me.not_finite(work);
    const int not_finite = parameter == nullptr ? -1 : static_cast<int>(parameter - replica.parameters().all().data());
    const int stop = run.options.stop == nullptr ? 0 : run.options.stop->load(std::memory_order_relaxed);
    over(run, 0, [&] {
      connection.send(Done{result, stop, not_finite});
      if (!shares) connection.send(gradient.floats(), bytes);
    });
    if (!shares) own = std::move(gradient);
  }
}

}  // namespace dptrain
