// Purpose: a piece of the flat buffer taken part by part, each of one treatment, for the loops that update it on the
//   CPU.
// Thread safety: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "kernels/update_ranges.h"
#include "kernels/update_rules.h"

namespace dptrain {

/// part(range, first, count) for each part of [offset, offset + count) that lies in one range; `first` counts from
/// offset. An empty table is one range, trained and decayed.
template <class Part>
void for_each_range(const UpdateRanges& ranges, std::int64_t offset, std::int64_t count, const Part& part) {
  if (ranges.empty()) return part(UpdateRange{offset, count}, std::size_t{0}, static_cast<std::size_t>(count));
  const std::int64_t end = offset + count;
  auto range = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](const UpdateRange& r) { return r.first + r.count <= offset; });
  for (; offset < end; ++range) {
    DPTRAIN_CHECK(range != ranges.end() && range->first <= offset, "no range holds float {}", offset);
    const std::int64_t last = std::min(end, range->first + range->count);
    part(*range, static_cast<std::size_t>(offset - (end - count)), static_cast<std::size_t>(last - offset));
    offset = last;
  }
}

/// What is done to the elements of a range in a step of `rule`.
UpdateRule rule_for(const UpdateRange& range, const UpdateRule& rule);

}  // namespace dptrain
