#include "data/loader.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace dptrain {

Loader::Loader(const Dataset& dataset, Source source, std::int64_t largest_batch, std::int64_t slots, int workers,
               const Allocate& allocate)
    : dataset_(dataset),
      source_(std::move(source)),
      slots_(static_cast<std::size_t>(workers > 0 ? std::max<std::int64_t>(slots, workers + 1) : 1)),
      workers_(workers) {
  const auto batch = static_cast<std::size_t>(largest_batch);
  const std::size_t floats = batch * static_cast<std::size_t>(dataset.shape().elements());
  for (Slot& slot : slots_) {
    slot.ids.resize(batch);
    slot.labels.resize(batch);
    slot.samples = allocate(floats * sizeof(float));
  }
  start();
}

Loader::~Loader() {
  stop();
}

void Loader::restart(Source source) {
  stop();
  source_ = std::move(source);
  for (Slot& slot : slots_) {
    slot.ready.store(0, std::memory_order_relaxed);
    slot.is_end = false;
    slot.error = nullptr;
  }
  claimed_ = 0;
  is_over_ = false;
  released_ = 0;
  stop_ = false;
  ended_ = false;
  error_ = nullptr;
  start();
}

void Loader::start() {
  try {
    for (int k = 0; k < workers_; ++k) threads_.emplace_back([this] { work(); });
  } catch (...) {  // no more threads to be had
    stop();
    throw;
  }
}

void Loader::stop() {
  stop_.store(true, std::memory_order_relaxed);
  released_.fetch_add(1, std::memory_order_release);  // a worker wakes, and sees that it shall stop
  released_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Loader::Named Loader::name(Slot& slot) {
  slot.error = nullptr;
  const Named named = source_(slot.ids);
  slot.is_end = named.count == 0;
  return named;
}

Batch gather_named(const Dataset& dataset, const Loader::Named& named, std::span<const std::int64_t> ids,
                   float* samples, std::int32_t* labels) {
  DPTRAIN_CHECK(named.draws || !dataset.augments(), "batches of an augmented dataset without a stream to draw from");
  ids = ids.first(named.count);
  if (named.draws) {
    dataset.gather_augmented(ids, *named.draws, samples, labels);
  } else {
    dataset.gather(ids, samples, labels);
  }
  return {ids, samples, labels};
}

std::optional<std::pair<std::uint64_t, Loader::Named>> Loader::claim() {
  const std::lock_guard lock(claims_);
  if (is_over_) return std::nullopt;
  const std::uint64_t k = claimed_, ring = slots_.size();
  // One worker alone sleeps until half of the ring is free: one wake-up fills several slots. Several have work that
  // takes longer than a wake-up.
  const std::uint64_t free = workers_ == 1 ? (ring + 1) / 2 : 1;
  std::uint64_t released = released_.load(std::memory_order_acquire);
  if (k >= released + ring) {
    while (k + free > released + ring && !stop_.load(std::memory_order_relaxed)) {
      released_.wait(released, std::memory_order_acquire);
      released = released_.load(std::memory_order_acquire);
    }
  }
  if (stop_.load(std::memory_order_relaxed)) return std::nullopt;
  ++claimed_;
  Slot& slot = slots_[k % ring];
  Named named = 0;
  try {
    named = name(slot);
  } catch (...) {
    slot.error = std::current_exception();
  }
  is_over_ = named.count == 0;
  return std::pair(k, named);
}

void Loader::work() {
  while (const auto claimed = claim()) {
    const auto& [k, named] = *claimed;
    Slot& slot = slots_[k % slots_.size()];
    if (named.count > 0) {
      try {
        slot.batch = gather_named(dataset_, named, slot.ids, slot.samples.floats(), slot.labels.data());
      } catch (...) {
        slot.error = std::current_exception();
      }
    }
    const bool is_last = slot.error != nullptr;  // read before the replica may give the slot back
    slot.ready.store(k + 1, std::memory_order_release);
    slot.ready.notify_one();
    if (!is_last) continue;
    const std::lock_guard lock(claims_);
    is_over_ = true;
    return;
  }
}

const Batch& Loader::next() {
  if (error_) std::rethrow_exception(error_);
  DPTRAIN_CHECK(!ended_, "a batch was asked for after the last");
  const std::uint64_t k = released_.load(std::memory_order_relaxed);
  Slot& slot = slots_[k % slots_.size()];
  if (workers_ == 0) {
    const Named named = name(slot);
    if (!slot.is_end) slot.batch = gather_named(dataset_, named, slot.ids, slot.samples.floats(), slot.labels.data());
  } else {
    for (std::uint64_t ready; (ready = slot.ready.load(std::memory_order_acquire)) != k + 1;) slot.ready.wait(ready);
    error_ = slot.error;
    if (error_) std::rethrow_exception(error_);
  }
  ended_ = slot.is_end;
  DPTRAIN_CHECK(!ended_, "a batch was asked for after the last");
  return slot.batch;
}

void Loader::release() {
  released_.fetch_add(1, std::memory_order_release);
  if (workers_ > 0) released_.notify_one();
}

}  // namespace dptrain
