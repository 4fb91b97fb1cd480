#include "train/async/executor.h"

#include <chrono>
#include <thread>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

/// A replica of this process, with what the drills do to it.
class LocalExecutor final : public Executor {
 public:
  LocalExecutor(Run& run, AsyncRun& async, int rank, Replica& replica)
      : Executor(rank, async.memory->reading(rank)), run_(run), async_(async), replica_(replica), drilled_(run.first) {}

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
      read();
      for (; drilled_ <= place.step; ++drilled_) {
        run_.drills.before(rank(), drilled_);
        task.poison = run_.drills.poisons(rank(), drilled_) || task.poison;
      }
      Replica::Gradient gradient = replica_.gradient(task);
      gradient.data += loaded - start;
      Replica::Times times{.data = gradient.data, .compute = gradient.compute};
      run_.drills.after(rank(), place.step, times);
      gradient.compute = times.compute;
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

 private:
  Run& run_;
  AsyncRun& async_;
  Replica& replica_;
  std::int64_t drilled_;  // steps whose drills it has had
};

// What goes over a line, in this order; then the next micro-batch. Where memory is not shared weights follow Go, and the gradient
// follows Done.

struct Begin {
  std::int64_t index;  // kRest: none
  std::int32_t buffer;
};
constexpr std::int64_t kRest = -1;
/// Its samples are there.
struct Ready {
  std::int32_t unused;
};
/// The weights are.
struct Go {
  std::int32_t unused;
};
struct Done {
  Replica::Gradient gradient;
  std::int32_t stop;  // the signal that asks that process for it; 0: none
};

/// A line that is cut means that something is wrong elsewhere, and who knows will say so at once. Otherwise that is the error.
[[noreturn]] void line_is_cut(Run& run, int process) {
  constexpr double kNews = 5;  // seconds
  for (const double start = steady_seconds(); !run.group.error() && steady_seconds() - start < kNews;)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const Member& other = run.processes.members()[static_cast<std::size_t>(process)];
  run.group.abort(std::make_exception_ptr(
      Error(ExitStatus::retry, fmt::format("{} has closed its connection: the run is given up", other.name()))));
  throw GroupAborted{};
}

template <class Say>
auto over(Run& run, int process, const Say& say) {
  try {
    return say();
  } catch (const LineCut&) {
    line_is_cut(run, process);
  }
}

class RemoteExecutor final : public Executor {
 public:
  RemoteExecutor(Run& run, AsyncRun& async, int rank)
      : Executor(rank, async.memory->reading(rank)),
        run_(run),
        async_(async),
        process_(run.placement.process_of(rank)),
        line_(*async.lines[static_cast<std::size_t>(rank)]),
        shares_(async.memory->is_near(process_)),
        bytes_(static_cast<std::size_t>(async.store->floats()) * sizeof(float)),
        drilled_(run.first) {}

  Replica::Gradient gradient(const Dispatcher::Work& work, const std::function<void()>& read) override {
    // Which gradients are spoilt there is a part of the run's state, which is saved here.
    for (const std::int64_t step = async_.places.at(work.index).step; drilled_ <= step; ++drilled_)
      static_cast<void>(run_.drills.poisons(rank(), drilled_));
    over(run_, process_, [&] {
      line_.send(Begin{work.index, work.buffer});
      static_cast<void>(line_.receive<Ready>());
    });
    read();
    const Done done = over(run_, process_, [&] {
      line_.send(Go{});
      if (!shares_) line_.send(weights(), bytes_);
      const Done answer = line_.receive<Done>();
      if (!shares_) line_.receive(work.gradient, bytes_);
      return answer;
    });
    if (done.stop != 0) async_.dispatcher->stop();
    return done.gradient;
  }

  void rest() override {
    over(run_, process_, [&] { line_.send(Begin{kRest, 0}); });
  }

 private:
  Run& run_;
  AsyncRun& async_;
  const int process_;
  const Line& line_;
  const bool shares_;
  const std::size_t bytes_;
  std::int64_t drilled_;
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
  const Line& line = *async.lines[static_cast<std::size_t>(rank)];
  const bool shares = async.memory->is_near(run.processes.rank());
  const std::size_t bytes = static_cast<std::size_t>(replica.parameters().floats()) * sizeof(float);
  Buffer own;  // a gradient
  for (;;) {
    const auto begin = over(run, 0, [&] { return line.receive<Begin>(); });
    if (begin.index == kRest) return;
    Buffer gradient = shares || own.size() == 0 ? async.memory->gradient(begin.buffer) : std::move(own);
    const Dispatcher::Work work{.index = begin.index, .buffer = begin.buffer, .gradient = gradient.floats()};
    const Replica::Gradient result = me.gradient(work, [&] {
      over(run, 0, [&] {
        line.send(Ready{});
        static_cast<void>(line.receive<Go>());
        if (!shares) line.receive(me.weights(), bytes);
      });
    });
    const int stop = run.options.stop == nullptr ? 0 : run.options.stop->load(std::memory_order_relaxed);
    over(run, 0, [&] {
      line.send(Done{result, stop});
      if (!shares) line.send(gradient.floats(), bytes);
    });
    if (!shares) own = std::move(gradient);
  }
}

}  // namespace dptrain
