// Purpose: one optimizer step over flat buffers on the CPU.
// Thread safety: a pure function of its arguments; threads may update disjoint slices at the same time.
// Invariants: an element's result depends on that element alone, bit for bit, wherever a slice starts or ends.
#pragma once

#include <span>

#include "kernels/update_rules.h"

namespace dptrain {

/// Updates `parameters` in place from `gradients` (as many elements). The state buffers that the rule uses have as many
/// elements too; those it does not use may be empty and are not touched. The four spans must not overlap.
void apply_update(const UpdateRule& rule, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> state0, std::span<float> state1);

}  // namespace dptrain
