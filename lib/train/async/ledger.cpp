#include "train/async/ledger.h"

#include <algorithm>

#include "core/error.h"

namespace dptrain {

Ledger::Ledger(const LedgerRules& rules, std::int64_t version, std::size_t most) : rules_(rules), version_(version) {
  outstanding_.reserve(most);
}

bool Ledger::feasible(std::int64_t without, std::int64_t ahead, bool one_more) const {
  if (!bounded()) return true;
  // Deposits in the order of their deadlines are the best there is: the k-th of them goes into the version that is open
  // then.
  std::int64_t position = static_cast<std::int64_t>(open_.size()) + ahead;
  const auto in_time = [&](std::int64_t read) {
    return version_ + position++ / rules_.per_version - read <= *rules_.bound;
  };
  for (const Reader& reader : outstanding_) {
    if (reader.index != without && !in_time(reader.version)) return false;
  }
  return !one_more || in_time(version_);
}

bool Ledger::can_admit() const {
  return feasible(-1, 0, true);
}

std::int64_t Ledger::admit(std::int64_t index) {
  DPTRAIN_CHECK(can_admit(), "gradient {} was not to be admitted", index);
  outstanding_.push_back({index, version_});
  sort();
  return version_;
}

void Ledger::pulled(std::int64_t index, std::int64_t version) {
  for (Reader& reader : outstanding_) {
    if (reader.index != index) continue;
    DPTRAIN_CHECK(version <= version_, "gradient {} read version {} of {}", index, version, version_);
    DPTRAIN_CHECK(!bounded() || version >= reader.version, "gradient {} read version {}, and was admitted at {}", index,
                  version, reader.version);
    reader.version = version;
    sort();
    return;
  }
  DPTRAIN_CHECK(false, "gradient {} is not outstanding", index);
}

bool Ledger::can_deposit(std::int64_t index) const {
  return feasible(index, 1, false);
}

Ledger::Deposit Ledger::deposit(std::int64_t index) {
  DPTRAIN_CHECK(can_deposit(index), "gradient {} was to wait", index);
  const auto reader =
      std::find_if(outstanding_.begin(), outstanding_.end(), [&](const Reader& r) { return r.index == index; });
  DPTRAIN_CHECK(reader != outstanding_.end(), "gradient {} is not outstanding", index);
  Deposit deposit{.lag = version_ - reader->version};
  outstanding_.erase(reader);
  if (rules_.on_stale == OnStale::drop && rules_.bound && deposit.lag > *rules_.bound) {
    deposit.dropped = true;
    return deposit;
  }
  if (rules_.on_stale == OnStale::scale) deposit.scale = 1 / (1 + static_cast<float>(deposit.lag));
  DPTRAIN_CHECK(!rules_.bound || deposit.lag <= *rules_.bound, "gradient {} has lag {}", index, deposit.lag);
  deposit.version = version_ + 1;
  open_.push_back({index, deposit.scale});
  deposit.closes = static_cast<std::int64_t>(open_.size()) >= rules_.per_version;
  if (deposit.closes) close();
  return deposit;
}

void Ledger::withdraw(std::int64_t index) {
  remove(index);
}

bool Ledger::close_short() {
  DPTRAIN_CHECK(at_rest(), "{} gradients are outstanding", outstanding_.size());
  if (open_.empty()) return false;
  close();
  return true;
}

void Ledger::change_rules(const LedgerRules& rules) {
  DPTRAIN_CHECK(at_rest() && open_.empty(), "rules change between versions");
  rules_ = rules;
}

void Ledger::remove(std::int64_t index) {
  std::erase_if(outstanding_, [&](const Reader& reader) { return reader.index == index; });
}

void Ledger::sort() {
  std::sort(outstanding_.begin(), outstanding_.end(), [](const Reader& a, const Reader& b) {
    return a.version != b.version ? a.version < b.version : a.index < b.index;
  });
}

void Ledger::close() {
  closed_.swap(open_);
  open_.clear();
  std::sort(closed_.begin(), closed_.end(), [](const Member& a, const Member& b) { return a.index < b.index; });
  ++version_;
}

}  // namespace dptrain
