#include "train/async/dispatcher.h"

#include <algorithm>

#include "comm/local/local_group.h"
#include "core/error.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFree = -1;

}  // namespace

Dispatcher::Dispatcher(DispatcherConfig config, Store& store)
    : config_(std::move(config)),
      store_(store),
      ledger_(config_.rules, config_.version, static_cast<std::size_t>(config_.replicas)),
      counts_(config_.counts),
      next_(config_.next),
      limit_(config_.next) {
  const std::size_t bytes = static_cast<std::size_t>(store.floats()) * sizeof(float);
  // One for each replica, and those of an open version that lacks one gradient.
  const std::int64_t count = config_.replicas + config_.rules.per_version - 1;
  for (std::int64_t k = 0; k < count; ++k) gradients_.push_back(config_.allocate(bytes));
  owner_.assign(gradients_.size(), kFree);
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

std::vector<int> Dispatcher::announce() {
  std::vector<int> buffers;
  VersionUpdate update{.rule = config_.rule(ledger_.version() - 1)};
  std::int64_t samples = 0;
  for (const Ledger::Member& member : ledger_.closed()) {
    buffers.push_back(buffer_of(member.index));
    update.leaves.push_back({gradients_[static_cast<std::size_t>(buffers.back())].floats(), member.scale});
    samples += config_.samples(member.index);
  }
  update.samples = static_cast<float>(samples);
  store_.announce(ledger_.version(), std::move(update));
  return buffers;
}

void Dispatcher::pulled(const Work& work, std::int64_t oldest) {
  const std::lock_guard lock(mutex_);
  ledger_.pulled(work.index, oldest);
  if (oldest > work.version) changed_.notify_all();  // its deadline is later than was to be feared
}

Dispatcher::Pushed Dispatcher::push(const Work& work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return takes(work); });
  check();
  Pushed pushed{.ticket = tickets_++, .deposit = ledger_.deposit(work.index), .buffers = {}};
  if (pushed.deposit.dropped) {
    ++counts_.dropped;
    owner_[static_cast<std::size_t>(work.buffer)] = kFree;
  } else {
    counts_.add(pushed.deposit.lag);
    if (pushed.deposit.closes) pushed.buffers = announce();
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
  const std::lock_guard lock(mutex_);
  if (!ledger_.close_short()) return std::nullopt;
  Pushed pushed;
  pushed.deposit = {.version = ledger_.version(), .closes = true};
  pushed.buffers = announce();
  return pushed;
}

void Dispatcher::change_rules(const LedgerRules& rules) {
  const std::lock_guard lock(mutex_);
  ledger_.change_rules(rules);
  const std::size_t bytes = static_cast<std::size_t>(store_.floats()) * sizeof(float);
  while (static_cast<std::int64_t>(gradients_.size()) < config_.replicas + rules.per_version - 1) {
    gradients_.push_back(config_.allocate(bytes));
    owner_.push_back(kFree);
  }
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
