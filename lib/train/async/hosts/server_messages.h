// Purpose: what goes over the connections by which the parts of an asynchronous run's store are read, written and kept
//   in step. All processes are one build, and of one kind of machine.
// Thread safety: values. Invariants: all are copied as bytes.
#pragma once

#include <cstdint>

#include "kernels/update_rules.h"

namespace dptrain {

/// The first process's, to who keeps a part: buffer `right` is to be added to buffer `left`, or, with leaves, a version
/// to be applied. The leaves follow. Answered with CommandDone; before that, where versions are clipped, with the
/// squares of the part's chunks, which are answered with the norm.
struct ServerCommand {
  std::int64_t version = 0;
  std::int32_t leaves = 0;  ///< 0: an addition
  std::int32_t left = 0, right = 0;
  float samples = 1;
  UpdateRule rule{};
};
struct CommandLeaf {
  std::int32_t buffer = 0;
  float scale = 1;
};
struct CommandDone {
  std::int64_t version = 0;
};

/// A replica's, to who keeps a part: for its weights, which come after the versions of their shards; or with a
/// gradient's part, which follows, and is answered with the request itself when it is in its buffer.
struct ReplicaRequest {
  std::int64_t at_least = 0;  ///< the version of every shard
  std::int32_t buffer = kWeights;
  static constexpr std::int32_t kWeights = -1;
};

}  // namespace dptrain
