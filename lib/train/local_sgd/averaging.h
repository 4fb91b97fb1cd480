// Purpose: the weighted mean of equally long vectors, added in the tree's order over their index.
// Thread safety: pure functions; threads may work on disjoint elements at the same time.
// Invariants: an element's result depends on that element and the weights alone. Sums are of doubles, rounded once at
//   the end: the mean of equal values is that value, and one part alone is its own mean, to the bit.
#pragma once

#include <cstdint>
#include <span>

namespace dptrain {

/// out[i] = sum over k of weights[k] * parts[k][i], divided by the sum of the weights; i in [0, count). Weights are
/// counts of samples, at least one of them above 0; a part of weight 0 is not read. `out` may be one of the parts.
void weighted_mean(std::span<const float* const> parts, std::span<const std::int64_t> weights, std::int64_t count,
                   float* out);

}  // namespace dptrain
