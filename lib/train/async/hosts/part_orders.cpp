#include "train/async/hosts/part_orders.h"

#include <algorithm>

#include "comm/communicator.h"
#include "train/gradient_reducer.h"

namespace dptrain {

PartOrders::PartOrders(const std::vector<StorePlace>& places, const std::vector<const Line*>& lines, bool clips,
                       std::function<void(int)> broken, std::function<void(std::exception_ptr)> failed)
    : clips_(clips), broken_(std::move(broken)), failed_(std::move(failed)) {
  constexpr std::int64_t kChunk = GradientReducer::kChunk;
  for (std::size_t k = 1; k < places.size(); ++k)
    keepers_.push_back({.process = places[k].process,
                        .chunks = (places[k].floats.count() + kChunk - 1) / kChunk,
                        .line = lines[k - 1]});
  try {
    for (std::size_t k = 0; k < keepers_.size(); ++k) keepers_[k].thread = std::thread([this, k] { live(k); });
  } catch (...) {  // there are too many threads
    end();
    throw;
  }
}

PartOrders::~PartOrders() {
  end();
}

void PartOrders::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (Keeper& keeper : keepers_)
    if (keeper.thread.joinable()) keeper.thread.join();
}

void PartOrders::cut() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cut_ = true;
  }
  changed_.notify_all();
  for (const Keeper& keeper : keepers_) keeper.line->cut();
}

std::int64_t PartOrders::give(Order order) {
  const std::lock_guard lock(mutex_);
  orders_.push_back(std::move(order));
  changed_.notify_all();
  return first_ + static_cast<std::int64_t>(orders_.size());
}

std::int64_t PartOrders::add(int left, int right) {
  return give({.order = {.left = left, .right = right}});
}

std::int64_t PartOrders::announce(std::int64_t version, const VersionUpdate& update, const std::vector<int>& buffers) {
  Order order{.order = {.version = version,
                        .leaves = static_cast<std::int32_t>(update.leaves.size()),
                        .samples = update.samples,
                        .rule = update.rule}};
  for (std::size_t k = 0; k < update.leaves.size(); ++k) order.leaves.push_back({buffers[k], update.leaves[k].scale});
  return give(std::move(order));
}

void PartOrders::wait(std::int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return cut_ ||
           std::all_of(keepers_.begin(), keepers_.end(), [&](const Keeper& keeper) { return keeper.done >= number; });
  });
  if (cut_) throw GroupAborted{};
}

double PartOrders::norm(std::int64_t version, const std::vector<double>& squares) {
  std::unique_lock lock(mutex_);
  Norm& mine = norms_[version];
  mine.squares.resize(keepers_.size());
  changed_.wait(lock, [&] {
    return cut_ || std::none_of(mine.squares.begin(), mine.squares.end(), [](const auto& one) { return one.empty(); });
  });
  if (cut_) return 1;  // nobody will see what becomes of it
  std::vector<double> all = squares;
  for (const std::vector<double>& one : mine.squares) all.insert(all.end(), one.begin(), one.end());
  mine.norm = norm_of(version, all);
  mine.known = true;
  changed_.notify_all();
  return mine.norm;
}

std::optional<PartOrders::Order> PartOrders::next(std::int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return cut_ || closing_ || first_ + static_cast<std::int64_t>(orders_.size()) > number; });
  if (cut_ || closing_) return std::nullopt;
  return orders_[static_cast<std::size_t>(number - first_)];
}

void PartOrders::live(std::size_t k) {
  Keeper& keeper = keepers_[k];
  try {
    for (std::int64_t number = 0;; ++number) {
      const std::optional<Order> order = next(number);
      if (!order) return;
      carry_out(k, *order);
      note_done(keeper);
    }
  } catch (const LineCut&) {
    broken_(keeper.process);
  } catch (...) {
    failed_(std::current_exception());
  }
}

void PartOrders::carry_out(std::size_t k, const Order& order) {
  const Line& line = *keepers_[k].line;
  line.send(order.order);
  if (!order.leaves.empty()) {
    line.send(order.leaves.data(), order.leaves.size() * sizeof(PartLeaf));
    if (clips_) share_norm(k, order.order.version);
  }
  static_cast<void>(line.receive<PartDone>());
}

void PartOrders::share_norm(std::size_t k, std::int64_t version) {
  const Line& line = *keepers_[k].line;
  std::vector<double> squares(static_cast<std::size_t>(keepers_[k].chunks));
  line.receive(squares.data(), squares.size() * sizeof(double));
  std::unique_lock lock(mutex_);
  Norm& all = norms_[version];
  all.squares.resize(keepers_.size());
  all.squares[k] = std::move(squares);
  changed_.notify_all();
  changed_.wait(lock, [&] { return cut_ || all.known; });
  const double norm = all.norm;
  if (++all.taken == keepers_.size() && all.known) norms_.erase(version);
  lock.unlock();
  line.send(norm);
}

void PartOrders::note_done(Keeper& keeper) {
  const std::lock_guard lock(mutex_);
  ++keeper.done;
  while (!orders_.empty() &&
         std::all_of(keepers_.begin(), keepers_.end(), [&](const Keeper& other) { return other.done > first_; })) {
    orders_.pop_front();
    ++first_;
  }
  changed_.notify_all();
}

}  // namespace dptrain
