// Purpose: updates that depend on the norms of whole tensors (LARS, LAMB), in two passes over the parts of a tensor:
//   the first finds the norms, the second updates. Between them the parts' squares are added up in index order.
// Thread safety: pure functions of their arguments; threads may work on disjoint parts at the same time.
// Invariants: a part's squares depend on that part alone. Other rules, and tensors that do not decay, are updated
//   without norms.
#pragma once

#include <span>

#include "kernels/update_rules.h"

namespace dptrain {

/// A part of a tensor, and of its gradient and state. State buffers that the rule does not use may be empty.
struct TensorPart {
  std::span<float> parameters;
  std::span<const float> gradients;
  std::span<float> state0, state1;
};

/// Whether a rule wants the norms of whole tensors.
bool adapts(const UpdateRule& rule);

/// The first pass: the squares, in a fixed order; LAMB's running means go on here.
TensorSquares measure_part(const UpdateRule& rule, const TensorPart& part);
/// The rule with the adaptation that these squares of the whole tensor give.
UpdateRule adapted(const UpdateRule& rule, const TensorSquares& tensor);
/// The second pass, with adapted()'s rule.
void update_part(const UpdateRule& rule, const TensorPart& part);

}  // namespace dptrain
