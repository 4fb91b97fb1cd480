// Purpose: one optimizer step over flat buffers on the CPU.
// Thread safety: a pure function of its arguments; threads may update disjoint slices at the same time.
// Invariants: an element's result depends on that element alone, bit for bit, wherever a slice starts or ends.
#pragma once

#include <span>

#include "kernels/update_ranges.h"
#include "kernels/update_rules.h"

namespace dptrain {

/// Updates `parameters` in place from `gradients` (as many elements). The state buffers that the rule uses have as many
/// elements too; those it does not use may be empty and are not touched. The four spans must not overlap.
void apply_update(const UpdateRule& rule, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> state0, std::span<float> state1);

// The following take a part of the flat buffer that begins at float `offset`, with the table of all of it.

/// The same, each range treated as the table says. State buffers are not touched where a statistic is.
void apply_update(const UpdateRule& rule, const UpdateRanges& ranges, std::int64_t offset, std::span<float> parameters,
                  std::span<const float> gradients, std::span<float> state0, std::span<float> state1);
/// The sum, in index order, of the squares of what is trained.
double trained_squares(const UpdateRanges& ranges, std::int64_t offset, std::span<const float> gradients);
/// clipped[i] = gradients[i] * factor, but statistics as they are.
void clip_trained(const UpdateRanges& ranges, std::int64_t offset, float factor, std::span<const float> gradients,
                  float* clipped);

}  // namespace dptrain
