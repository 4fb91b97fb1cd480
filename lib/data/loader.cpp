#include "data/loader.h"

#include <algorithm>

#include "core/error.h"

namespace dptrain {

Loader::Loader(const Dataset& dataset, Source source, std::int64_t largest_batch, std::int64_t slots, bool worker,
               const Allocate& allocate)
    : dataset_(dataset),
      source_(std::move(source)),
      slots_(static_cast<std::size_t>(worker ? std::max<std::int64_t>(slots, 2) : 1)) {
  const auto batch = static_cast<std::size_t>(largest_batch);
  const std::size_t floats = batch * static_cast<std::size_t>(dataset.shape().elements());
  for (Slot& slot : slots_) {
    slot.ids.resize(batch);
    slot.labels.resize(batch);
    slot.samples = allocate(floats * sizeof(float));
  }
  if (worker) worker_ = std::thread([this] { work(); });
}

Loader::~Loader() {
  stop();
}

void Loader::restart(Source source) {
  const bool worker = worker_.joinable();
  stop();
  source_ = std::move(source);
  filled_ = released_ = 0;
  end_ = ~std::uint64_t{0};
  error_ = nullptr;
  stop_ = false;
  if (worker) worker_ = std::thread([this] { work(); });
}

void Loader::stop() {
  stop_.store(true, std::memory_order_relaxed);
  released_.fetch_add(1, std::memory_order_release);  // the worker wakes, and sees that it shall stop
  released_.notify_all();
  if (worker_.joinable()) worker_.join();
}

bool Loader::fill(Slot& slot) {
  const std::size_t count = source_(slot.ids);
  if (count == 0) return false;
  const std::span<const std::int64_t> ids(slot.ids.data(), count);
  dataset_.gather(ids, slot.samples.floats(), slot.labels.data());
  slot.batch = {ids, slot.samples.floats(), slot.labels.data()};
  return true;
}

void Loader::work() {
  const std::uint64_t ring = slots_.size(), batch_of_work = (ring + 1) / 2;
  try {
    for (std::uint64_t k = 0;; ++k) {
      std::uint64_t released = released_.load(std::memory_order_acquire);
      if (k >= released + ring) {
        // Asleep until half of the ring is free: one wake-up fills several slots.
        while (k + batch_of_work > released + ring && !stop_.load(std::memory_order_relaxed)) {
          released_.wait(released, std::memory_order_acquire);
          released = released_.load(std::memory_order_acquire);
        }
      }
      if (stop_.load(std::memory_order_relaxed)) return;
      if (!fill(slots_[k % ring])) break;
      filled_.store(k + 1, std::memory_order_release);
      filled_.notify_one();
    }
  } catch (...) {
    error_ = std::current_exception();
  }
  end_.store(filled_.load(std::memory_order_relaxed), std::memory_order_release);
  filled_.fetch_add(1, std::memory_order_release);  // so that a replica which waits sees the end
  filled_.notify_one();
}

const Batch& Loader::next() {
  const std::uint64_t k = released_.load(std::memory_order_relaxed);
  if (!worker_.joinable()) {
    DPTRAIN_CHECK(fill(slots_[0]), "a batch was asked for after the last");
    return slots_[0].batch;
  }
  std::uint64_t filled = filled_.load(std::memory_order_acquire);
  while (filled <= k && k < end_.load(std::memory_order_acquire)) {
    filled_.wait(filled, std::memory_order_acquire);
    filled = filled_.load(std::memory_order_acquire);
  }
  if (k >= end_.load(std::memory_order_acquire)) {
    if (error_) std::rethrow_exception(error_);
    DPTRAIN_CHECK(false, "a batch was asked for after the last");
  }
  return slots_[k % slots_.size()].batch;
}

void Loader::release() {
  released_.fetch_add(1, std::memory_order_release);
  if (worker_.joinable()) released_.notify_one();
}

}  // namespace dptrain
