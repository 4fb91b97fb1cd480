// Purpose: which parts of the flat buffer a step treats how: parameters that decay, parameters that do not, and
//   statistics, which are not trained. Thread safety: values.
// Invariants: a table of ranges is in ascending order and covers the flat buffer without a gap; an empty one stands for
//   a buffer that is trained, and decays, all of it. Ranges begin where a tensor does, at multiples of kUpdateBlock
//   floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dptrain {

enum class Treatment : std::int32_t {
  decayed,    ///< updated by the rule
  undecayed,  ///< updated by the rule without its weight decay
  matrix,     ///< of an optimizer that updates matrices as a whole
  statistic,  ///< moved towards the mean of what the step has seen, see StatisticRule; not clipped, no part of norms. At a rate
              ///< of 0 it stays: such are parameters that are fixed
};

struct UpdateRange {
  std::int64_t first = 0, count = 0;  ///< floats of the flat buffer
  Treatment treatment = Treatment::decayed;
  float statistic_rate = 0;  ///< of statistics
  bool operator==(const UpdateRange&) const = default;
};
using UpdateRanges = std::vector<UpdateRange>;

/// A weight as a matrix: its outputs by all of its inputs.
struct UpdateMatrix {
  std::size_t parameter = 0;  ///< its place in the ParameterTable
  std::int64_t first = 0, count = 0;
  std::int64_t rows = 0, columns = 0;  ///< in canonical form
};

/// How the flat buffer is updated, worked out once from the model's parameters and the optimizer.
struct UpdatePlan {
  UpdateRanges ranges{};                 ///< neighbours of one kind together
  UpdateRanges tensors{};                ///< one for each tensor, where an optimizer adapts to each; else empty
  std::vector<UpdateMatrix> matrices{};  ///< where an optimizer updates them as a whole
  bool average = false;                  ///< a moving average of the parameters is kept, as one more buffer of state
};

/// The unit in which ranges begin and end: 64 bytes.
constexpr std::int64_t kUpdateBlock = 16;

/// What a GPU looks up for each block of kUpdateBlock floats.
struct UpdateBlock {
  Treatment treatment = Treatment::decayed;
  float statistic_rate = 0;
};

}  // namespace dptrain
