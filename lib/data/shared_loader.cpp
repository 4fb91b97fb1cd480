#include "data/shared_loader.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace dptrain {

SharedLoader::SharedLoader(const Dataset& dataset, Name name, const Config& config)
    : dataset_(dataset), name_(std::move(name)), workers_(config.workers), next_(config.first) {
  const auto batch = static_cast<std::size_t>(config.largest_batch);
  const std::size_t floats = batch * static_cast<std::size_t>(dataset.shape().elements());
  const std::int64_t ahead = workers_ > 0 ? std::max<std::int64_t>(config.ahead, workers_) : 0;
  for (std::int64_t k = 0; k < config.readers + ahead; ++k) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->ids.resize(batch);
    slots_.back()->labels.resize(batch);
    slots_.back()->samples = config.allocate(floats * sizeof(float));
  }
  try {
    for (int k = 0; k < workers_; ++k) threads_.emplace_back([this] { work(); });
  } catch (...) {  // no more threads to be had
    stop();
    throw;
  }
}

SharedLoader::~SharedLoader() {
  stop();
}

void SharedLoader::stop() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    freed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

SharedLoader::Slot* SharedLoader::find(State state, std::int64_t index) {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const std::unique_ptr<Slot>& slot) {
    return slot->state == state && slot->index == index;
  });
  return found == slots_.end() ? nullptr : found->get();
}

SharedLoader::Slot* SharedLoader::find_free() {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [](const std::unique_ptr<Slot>& slot) { return slot->state == State::free; });
  return found == slots_.end() ? nullptr : found->get();
}

bool SharedLoader::load(Slot& slot) {
  try {
    const Loader::Named named = name_(slot.index, slot.ids);
    if (named.count == 0) return false;
    slot.batch = gather_named(dataset_, named, slot.ids, slot.samples.floats(), slot.labels.data());
  } catch (...) {
    slot.error = std::current_exception();
  }
  return true;
}

void SharedLoader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Slot* slot = nullptr;
    freed_.wait(lock, [&] { return over_ || (slot = find_free()) != nullptr; });
    if (over_) return;
    slot->state = State::loading;
    slot->index = next_++;
    lock.unlock();
    const bool is_one = load(*slot);
    lock.lock();
    slot->state = is_one ? State::loaded : State::free;
    if (is_one) {
      loaded_.notify_all();
    } else {
      over_ = true;
      freed_.notify_all();
    }
  }
}

SharedLoader::Lease SharedLoader::take(std::int64_t index) {
  std::unique_lock lock(mutex_);
  Slot* slot = nullptr;
  if (workers_ == 0) {
    slot = find_free();
    DPTRAIN_CHECK(slot != nullptr, "more batches are out than there are readers");
    slot->state = State::out;
    slot->index = index;
    lock.unlock();
    DPTRAIN_CHECK(load(*slot), "batch {} was asked for, behind the last", index);
  } else {
    loaded_.wait(lock, [&] { return (slot = find(State::loaded, index)) != nullptr; });
    slot->state = State::out;
    lock.unlock();
  }
  Lease lease(*this, *slot);
  // Moved, so that the thread that handles an error is also the one that lets go of it: the slot is a worker's again by
  // then.
  if (slot->error) std::rethrow_exception(std::exchange(slot->error, nullptr));
  return lease;
}

void SharedLoader::give_back(Slot& slot) {
  const std::lock_guard lock(mutex_);
  slot.state = State::free;
  freed_.notify_one();
}

const Batch& SharedLoader::Lease::batch() const {
  return slot_->batch;
}

}  // namespace dptrain
