// Purpose: what an optimizer is to the rest: how much state it keeps a parameter, and the update rule of each step.
// Thread safety: immutable; all members may be called from any thread.
// Invariants: nothing that changes lives here. The state is in flat buffers that the caller owns (zero before step 0),
//   and a rule is a pure function of step and learning rate, so a run resumes from (weights, buffers, step).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/update_rules.h"
#include "spec/job_spec.h"

namespace dptrain {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// Names of the state buffers in the order in which the rule takes them, as PyTorch calls them in a state_dict.
  virtual std::vector<std::string> state_names() const = 0;
  /// How many state buffers there are, 0 to 2, each with one float a parameter.
  int state_buffers() const { return static_cast<int>(state_names().size()); }

  /// The update of step `step` (counted from 0) at learning rate `lr`.
  virtual UpdateRule rule(std::int64_t step, double lr) const = 0;
};

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSpec& spec);

/// "sgd", as in the spec.
std::string optimizer_name(const OptimizerSpec& spec);
/// Which parameters decay.
DecayOn decay_on(const OptimizerSpec& spec);
double weight_decay(const OptimizerSpec& spec);
/// Whether an update depends on more than the element itself: on norms of whole tensors (LARS, LAMB), or on whole matrices
/// (Muon). Those need what UpdatePlan says of tensors, and are not done by apply_update() alone.
bool takes_whole_tensors(const OptimizerSpec& spec);

/// The learning rate that the spec gives, which a schedule then modulates.
double base_lr(const OptimizerSpec& spec);

}  // namespace dptrain
