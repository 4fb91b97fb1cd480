// Purpose: which parts of the flat buffer a step treats how: parameters that decay, parameters that do not, and statistics,
//   which are not trained. Thread safety: values.
// Invariants: a table of ranges is in ascending order and covers the flat buffer without a gap; an empty one stands for a
//   buffer that is trained, and decays, all of it. Ranges begin where a tensor does, at multiples of kUpdateBlock floats.
#pragma once

#include <cstdint>
#include <vector>

namespace dptrain {

enum class Treatment : std::int32_t {
  decayed,    ///< updated by the rule
  undecayed,  ///< updated by the rule without its weight decay
  statistic,  ///< moved towards the mean of what the step has seen, see StatisticRule; not clipped, no part of norms
};

struct UpdateRange {
  std::int64_t first = 0, count = 0;  ///< floats of the flat buffer
  Treatment treatment = Treatment::decayed;
  float statistic_rate = 0;  ///< of statistics
  bool operator==(const UpdateRange&) const = default;
};
using UpdateRanges = std::vector<UpdateRange>;

/// The unit in which ranges begin and end: 64 bytes.
constexpr std::int64_t kUpdateBlock = 16;

/// What a GPU looks up for each block of kUpdateBlock floats.
struct UpdateBlock {
  Treatment treatment = Treatment::decayed;
  float statistic_rate = 0;
};

}  // namespace dptrain
