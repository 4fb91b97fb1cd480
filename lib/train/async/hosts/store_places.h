// Purpose: on which host each part of an asynchronous run's store is: every host keeps one, so that what its shards are
//   read and written with goes to and from all hosts, and not the first one alone.
// Thread safety: values. Invariants: parts are consecutive, in order, and none is empty; the first is the first
//   process's.
#pragma once

#include <algorithm>
#include <vector>

#include "train/async/store/store.h"

namespace dptrain {

struct StorePlace {
  int process = 0;  ///< that keeps it: the first of its host
  Range floats;     ///< of the flat vector
  Range shards;     ///< of all
};

/// For a store of at most so many shards, and the first processes of the hosts.
inline std::vector<StorePlace> places_of_parts(std::int64_t floats, std::int64_t shards,
                                               const std::vector<int>& hosts) {
  const std::vector<Range> all = cut_shards(floats, shards);
  const int count = static_cast<int>(std::min(all.size(), hosts.size()));
  std::vector<StorePlace> places;
  for (int k = 0; k < count; ++k) {
    const Range mine = shards_of(all.size(), {k, count});
    places.push_back(
        {.process = hosts[static_cast<std::size_t>(k)],
         .floats = {all[static_cast<std::size_t>(mine.first)].first, all[static_cast<std::size_t>(mine.last - 1)].last},
         .shards = mine});
  }
  return places;
}

}  // namespace dptrain
