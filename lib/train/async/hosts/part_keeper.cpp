#include "train/async/hosts/part_keeper.h"

#include <omp.h>

#include <cstring>

#include "comm/communicator.h"
#include "train/async/hosts/part_messages.h"
#include "train/float_mode.h"

namespace dptrain {

PartKeeper::PartKeeper(Store& store, std::int64_t version, std::int64_t buffers,
                       std::function<void(std::exception_ptr)> failed)
    : store_(store), failed_(std::move(failed)), announced_(version) {
  for (std::int64_t k = 0; k < buffers; ++k) gradients_.push_back(Buffer::host_floats(store.part().count()));
}

PartKeeper::~PartKeeper() {
  end();
}

void PartKeeper::end() noexcept {
  cut();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void PartKeeper::cut() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cut_ = true;
  }
  changed_.notify_all();
  for (const Line* line : lines_) line->cut();
}

void PartKeeper::serve(const Line& orders, const std::vector<const Line*>& replicas) {
  lines_ = {&orders};
  lines_.insert(lines_.end(), replicas.begin(), replicas.end());
  start(&PartKeeper::obey, orders);
  for (const Line* line : replicas) start(&PartKeeper::answer, *line);
}

void PartKeeper::start(void (PartKeeper::*live)(const Line&), const Line& line) {
  threads_.emplace_back([this, live, &line] {
    omp_set_num_threads(1);
    flush_denormals();  // updates are made here
    try {
      for (;;) (this->*live)(line);
    } catch (const LineCut&) {  // the end of the run, or of a process, which others see too
    } catch (const GroupAborted&) {
    } catch (...) {
      failed_(std::current_exception());
    }
  });
}

void PartKeeper::obey(const Line& line) {
  const auto order = line.receive<PartOrder>();
  if (order.leaves == 0)
    add(order.left, order.right);
  else
    apply(order, line);
  line.send(PartDone{order.version});
}

void PartKeeper::add(int left, int right) {
  float* into = gradients_.at(static_cast<std::size_t>(left)).floats();
  const float* from = gradients_.at(static_cast<std::size_t>(right)).floats();
  const std::int64_t count = store_.part().count();
  for (std::int64_t i = 0; i < count; ++i) into[i] = into[i] + from[i];
}

void PartKeeper::apply(const PartOrder& order, const Line& line) {
  std::vector<PartLeaf> leaves(static_cast<std::size_t>(order.leaves));
  line.receive(leaves.data(), leaves.size() * sizeof(PartLeaf));
  VersionUpdate update{.samples = order.samples, .rule = order.rule};
  for (const PartLeaf& leaf : leaves)
    update.leaves.push_back({gradients_.at(static_cast<std::size_t>(leaf.buffer)).floats(), leaf.scale});
  store_.announce(order.version, std::move(update));
  {
    const std::lock_guard lock(mutex_);
    announced_ = order.version;
  }
  changed_.notify_all();
  store_.apply(order.version);
}

double PartKeeper::norm(const std::vector<double>& squares) {
  const Line& line = *lines_.front();
  try {
    line.send(squares.data(), squares.size() * sizeof(double));
    return line.receive<double>();
  } catch (const LineCut&) {  // somebody may wait for this version; what becomes of it nobody will see
    return 1;
  }
}

void PartKeeper::pull(float* to, std::int64_t at_least, std::span<std::int64_t> read) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return cut_ || announced_ >= at_least; });
    if (cut_) throw GroupAborted{};
  }
  store_.pull(to, at_least, read);
}

void PartKeeper::push(int buffer, const float* part) {
  std::memcpy(gradients_.at(static_cast<std::size_t>(buffer)).floats(), part, bytes());
}

void PartKeeper::answer(const Line& line) {
  const auto request = line.receive<PartRequest>();
  if (request.buffer != PartRequest::kWeights) {
    line.receive(gradients_.at(static_cast<std::size_t>(request.buffer)).floats(), bytes());
    line.send(request);
    return;
  }
  thread_local std::vector<float> weights;
  weights.resize(static_cast<std::size_t>(store_.part().count()));
  std::vector<std::int64_t> read(store_.shards());
  pull(weights.data(), request.at_least, read);
  line.send(read.data(), read.size() * sizeof(std::int64_t));
  line.send(weights.data(), bytes());
}

}  // namespace dptrain
