// Purpose: the gradients of recorded versions, from when they are computed until their version is applied: where none
//   is scaled, they are added up in the tree's order as they come, so that a version of many takes the memory of few.
// Thread safety: take(), floats(), put() and give_back() by any thread; the rest while nobody else is at work.
// Invariants: what is left of a version when all of it is there are the leaves of its update, to the bits of adding
//   them at once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "device/buffer.h"
#include "train/async/partial_sums.h"
#include "train/async/record/record.h"
#include "train/async/store/store.h"

namespace dptrain {

class VersionSums {
 public:
  VersionSums(std::int64_t floats, std::function<Buffer(std::size_t bytes)> allocate)
      : floats_(floats), allocate_(std::move(allocate)) {}

  /// The versions of all these but the dropped ones, which outlive this. Once.
  void expect(const std::vector<RecordedGradient>& gradients);
  /// Of a version, by index.
  const std::vector<const RecordedGradient*>& members(std::int64_t version) { return versions_[version].members; }

  /// A buffer of flat floats that nobody else has.
  int take();
  void give_back(int buffer);
  float* floats(int buffer) const;
  /// The gradient is in `buffer`, which is not the caller's any more.
  void put(const RecordedGradient& gradient, int buffer);

  /// What the version is made of; all its gradients were put. Its buffers are taken until done().
  std::vector<VersionUpdate::Leaf> leaves(std::int64_t version);
  void done(std::int64_t version);

 private:
  struct Version {
    std::vector<const RecordedGradient*> members{};
    bool folds = true;
    std::size_t missing = 0;
    PartialSums sums{};
    std::vector<int> taken{};  // by its leaves
  };
  Block add(std::unique_lock<std::mutex>& lock, const Block& left, const Block& right);

  const std::int64_t floats_;
  const std::function<Buffer(std::size_t bytes)> allocate_;
  mutable std::mutex mutex_;
  std::vector<Buffer> buffers_;
  std::vector<int> free_;
  std::map<std::int64_t, Version> versions_;
};

}  // namespace dptrain
