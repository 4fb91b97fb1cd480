#include "train/async/record/version_sums.h"

#include <algorithm>

#include "core/error.h"

namespace dptrain {

void VersionSums::expect(const std::vector<RecordedGradient>& gradients) {
  for (const RecordedGradient& gradient : gradients) {
    if (!gradient.version) continue;
    Version& version = versions_[*gradient.version];
    version.members.push_back(&gradient);
    version.folds = version.folds && gradient.scale == 1;
    ++version.missing;
  }
  for (auto& [number, version] : versions_)
    std::sort(version.members.begin(), version.members.end(),
              [](const auto* a, const auto* b) { return a->index < b->index; });
}

int VersionSums::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    free_.push_back(static_cast<int>(buffers_.size()));
    buffers_.push_back(allocate_(static_cast<std::size_t>(floats_) * sizeof(float)));
  }
  const int buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void VersionSums::give_back(int buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(buffer);
}

float* VersionSums::floats(int buffer) const {
  const std::lock_guard lock(mutex_);
  return buffers_[static_cast<std::size_t>(buffer)].floats();
}

Block VersionSums::add(std::unique_lock<std::mutex>& lock, const Block& left, const Block& right) {
  float* into = buffers_[static_cast<std::size_t>(left.buffer)].floats();
  const float* from = buffers_[static_cast<std::size_t>(right.buffer)].floats();
  lock.unlock();
  for (std::int64_t i = 0; i < floats_; ++i) into[i] = into[i] + from[i];
  lock.lock();
  free_.push_back(right.buffer);
  return {left.first, left.size + right.size, left.buffer};
}

void VersionSums::put(const RecordedGradient& gradient, int buffer) {
  std::unique_lock lock(mutex_);
  Version& version = versions_.at(*gradient.version);
  const auto place = std::lower_bound(version.members.begin(), version.members.end(), gradient.index,
                                      [](const auto* member, std::int64_t index) { return member->index < index; });
  const Block block{.first = place - version.members.begin(), .buffer = buffer};
  if (version.folds)
    version.sums.fold(block, [&](const Block& left, const Block& right) { return add(lock, left, right); });
  else
    version.sums.put(block);
  --version.missing;
}

std::vector<VersionUpdate::Leaf> VersionSums::leaves(std::int64_t number) {
  std::unique_lock lock(mutex_);
  Version& version = versions_.at(number);
  DPTRAIN_CHECK(version.missing == 0, "version {} lacks {} gradients", number, version.missing);
  if (version.folds)
    version.sums.fold_rest([&](const Block& left, const Block& right) { return add(lock, left, right); });
  std::vector<VersionUpdate::Leaf> leaves;
  for (const Block& sum : version.sums.take_all()) {
    const float scale = version.members[static_cast<std::size_t>(sum.first)]->scale;
    leaves.push_back({buffers_[static_cast<std::size_t>(sum.buffer)].floats(), scale});
    version.taken.push_back(sum.buffer);
  }
  return leaves;
}

void VersionSums::done(std::int64_t number) {
  const std::lock_guard lock(mutex_);
  const auto version = versions_.find(number);
  free_.insert(free_.end(), version->second.taken.begin(), version->second.taken.end());
  versions_.erase(version);
}

}  // namespace dptrain
