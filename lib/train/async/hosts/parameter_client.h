// Purpose: how a replica reads weights from, and writes gradients to, the parts of an asynchronous run's store that
//   other hosts than the first keep: over a connection to each, or in its own process.
// Thread safety: one thread. Invariants: between two calls nothing of it is under way.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "comm/connection.h"
#include "train/async/hosts/parameter_server.h"
#include "train/async/hosts/store_places.h"

namespace dptrain {

class ParameterClient {
 public:
  /// A connection for each part but the first; null where `server` is this process's and has it. `broken` throws what
  /// it means that the connection to a process is cut.
  ParameterClient(const std::vector<StorePlace>& places, const std::vector<const Connection*>& connections,
                  ParameterServer* server, std::function<void(int process)> broken);

  /// Of flat weights the parts but the first, each shard of version `at_least` or later: which, into `read`, by shard
  /// after the first part's. Errors: GroupAborted, or as `broken` says.
  void pull(float* weights, std::int64_t at_least, std::span<std::int64_t> read) const;
  /// Of a flat gradient the parts but the first are in that buffer when it returns. Errors: likewise.
  void push(const float* gradient, int buffer) const;

 private:
  struct Part {
    StorePlace place;
    const Connection* connection;
    std::size_t bytes() const { return static_cast<std::size_t>(place.floats.count()) * sizeof(float); }
  };
  /// Over a connection to a part's server.
  template <class Say>
  void ask(const Part& part, const Say& say) const;

  const int first_shard_;
  ParameterServer* const server_;
  const std::function<void(int)> broken_;
  std::vector<Part> parts_;
};

}  // namespace dptrain
