#include "train/async/dispatcher.h"

#include <algorithm>

#include "comm/local/local_group.h"
#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFree = -1;

}  // namespace

bool folds_gradients(const LedgerRules& rules, bool skips) {
  return rules.bound == 0 && rules.on_stale != OnStale::drop && !skips;
}

std::int64_t gradient_buffers(const LedgerRules& rules, bool skips, std::int64_t replicas) {
  const std::int64_t all = replicas + rules.per_version - 1;
  return folds_gradients(rules, skips) ? std::min(all, 2 * replicas + PartialSums::most(rules.per_version)) : all;
}

Dispatcher::Dispatcher(DispatcherConfig config, Store& store)
    : config_(std::move(config)),
      store_(store),
      ledger_(config_.rules, config_.version, static_cast<std::size_t>(config_.replicas)),
      counts_(config_.counts),
      next_(config_.next),
      limit_(config_.next),
      base_(config_.next) {
  make_buffers();
}

void Dispatcher::make_buffers() {
  const std::int64_t count = gradient_buffers(ledger_.rules(), config_.skips, config_.replicas);
  while (static_cast<std::int64_t>(gradients_.size()) < count) {
    gradients_.push_back(config_.allocate(static_cast<std::size_t>(store_.floats()) * sizeof(float)));
    owner_.push_back(kFree);
  }
}

void Dispatcher::check() const {
  if (abandoned_) throw GroupAborted{};
}

void Dispatcher::open(std::int64_t limit) {
  const std::lock_guard lock(mutex_);
  limit_ = limit;
}

bool Dispatcher::admits() const {
  if (abandoned_ || next_ >= limit_) return true;
  return std::find(owner_.begin(), owner_.end(), kFree) != owner_.end() && ledger_.can_admit();
}

std::optional<Dispatcher::Work> Dispatcher::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return admits(); });
  check();
  if (next_ >= limit_) return std::nullopt;
  const auto free = std::find(owner_.begin(), owner_.end(), kFree);
  Work work{.index = next_++};
  const std::int64_t version = ledger_.admit(work.index);
  const bool waits = ledger_.rules().bound && ledger_.rules().on_stale != OnStale::drop;
  work.version = waits ? version : 0;
  work.buffer = static_cast<int>(free - owner_.begin());
  work.gradient = gradients_[static_cast<std::size_t>(work.buffer)].floats();
  *free = work.index;
  if (next_ >= limit_) changed_.notify_all();
  return work;
}

void Dispatcher::stop() {
  const std::lock_guard lock(mutex_);
  limit_ = std::min(limit_, config_.stop_at(next_));
  changed_.notify_all();
}

int Dispatcher::buffer_of(std::int64_t index) const {
  const auto found = std::find(owner_.begin(), owner_.end(), index);
  DPTRAIN_CHECK(found != owner_.end(), "micro-batch {} has no gradient", index);
  return static_cast<int>(found - owner_.begin());
}

void Dispatcher::announce(Pushed& pushed) {
  const std::int64_t before = ledger_.version() - 1;
  pushed.rate = config_.rate(before, counts_.dropped + counts_.skipped);
  VersionUpdate update{.rule = config_.rule(before, pushed.rate)};
  std::int64_t samples = 0;
  const auto leaf = [&](int buffer, float scale) {
    pushed.buffers.push_back(buffer);
    update.leaves.push_back({gradients_[static_cast<std::size_t>(buffer)].floats(), scale});
  };
  for (const Ledger::Member& member : ledger_.closed()) {
    DPTRAIN_CHECK(!folds() || member.scale == 1, "a sum of scaled gradients");
    if (!folds()) leaf(buffer_of(member.index), member.scale);
    samples += config_.samples(member.index);
  }
  if (folds()) {
    const std::vector<Block> whole = blocks_.take_all();
    DPTRAIN_CHECK(whole.size() == 1, "a version of {} sums", whole.size());
    leaf(whole.front().buffer, 1);
    base_ += static_cast<std::int64_t>(ledger_.closed().size());
  }
  update.samples = static_cast<float>(samples);
  if (config_.others != nullptr) pushed.elsewhere = config_.others->announce(ledger_.version(), update, pushed.buffers);
  store_.announce(ledger_.version(), std::move(update));
}

void Dispatcher::pulled(const Work& work, std::int64_t oldest) {
  const std::lock_guard lock(mutex_);
  ledger_.pulled(work.index, oldest);
  if (oldest > work.version) changed_.notify_all();  // its deadline is later than was to be feared
}

Block Dispatcher::add(std::unique_lock<std::mutex>& lock, const Block& left, const Block& right) {
  float* into = gradients_[static_cast<std::size_t>(left.buffer)].floats();
  const float* from = gradients_[static_cast<std::size_t>(right.buffer)].floats();
  OtherParts* const others = config_.others;
  const std::int64_t elsewhere = others == nullptr ? 0 : others->add(left.buffer, right.buffer);
  const std::int64_t count = store_.part().count();
  lock.unlock();
  for (std::int64_t i = 0; i < count; ++i) into[i] = into[i] + from[i];
  if (others != nullptr) others->wait(elsewhere);
  lock.lock();
  owner_[static_cast<std::size_t>(right.buffer)] = kFree;
  changed_.notify_all();
  return {left.first, left.size + right.size, left.buffer};
}

double Dispatcher::fold(std::unique_lock<std::mutex>& lock, const Work& work) {
  const double start = steady_seconds();
  blocks_.fold({.first = work.index - base_, .buffer = work.buffer},
               [&](const Block& left, const Block& right) { return add(lock, left, right); });
  // The last one: all others are deposited, and nobody adds any more.
  if (ledger_.open() + 1 == ledger_.rules().per_version) fold_rest(lock);
  return steady_seconds() - start;
}

void Dispatcher::fold_rest(std::unique_lock<std::mutex>& lock) {
  blocks_.fold_rest([&](const Block& left, const Block& right) { return add(lock, left, right); });
}

Dispatcher::Pushed Dispatcher::push(const Work& work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return takes(work); });
  check();
  const double adding = folds() ? fold(lock, work) : 0;
  Pushed pushed{.ticket = tickets_++, .deposit = ledger_.deposit(work.index), .buffers = {}, .adding = adding};
  if (pushed.deposit.dropped) {
    ++counts_.dropped;
    owner_[static_cast<std::size_t>(work.buffer)] = kFree;
  } else {
    counts_.add(pushed.deposit.lag);
    if (pushed.deposit.closes) announce(pushed);
  }
  changed_.notify_all();
  return pushed;
}

void Dispatcher::withdraw(const Work& work) {
  const std::lock_guard lock(mutex_);
  ledger_.withdraw(work.index);
  ++counts_.skipped;
  owner_[static_cast<std::size_t>(work.buffer)] = kFree;
  changed_.notify_all();
}

void Dispatcher::give_back(const std::vector<int>& buffers) {
  const std::lock_guard lock(mutex_);
  for (const int buffer : buffers) owner_[static_cast<std::size_t>(buffer)] = kFree;
  changed_.notify_all();
}

std::optional<Dispatcher::Pushed> Dispatcher::close_short() {
  std::unique_lock lock(mutex_);
  if (ledger_.open() == 0) return std::nullopt;
  if (folds()) fold_rest(lock);
  ledger_.close_short();
  Pushed pushed;
  pushed.deposit = {.version = ledger_.version(), .closes = true};
  announce(pushed);
  return pushed;
}

void Dispatcher::change_rules(const LedgerRules& rules) {
  const std::lock_guard lock(mutex_);
  ledger_.change_rules(rules);
  base_ = next_;
  make_buffers();
}

bool Dispatcher::can_begin() const {
  const std::lock_guard lock(mutex_);
  return admits();
}

bool Dispatcher::can_push(const Work& work) const {
  const std::lock_guard lock(mutex_);
  return takes(work);
}

std::int64_t Dispatcher::begun() const {
  const std::lock_guard lock(mutex_);
  return next_;
}

std::int64_t Dispatcher::version() const {
  const std::lock_guard lock(mutex_);
  return ledger_.version();
}

StalenessCounts Dispatcher::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void Dispatcher::abandon() {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

}  // namespace dptrain
