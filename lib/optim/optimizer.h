// Purpose: what an optimizer is to the rest: how much state it keeps a parameter, and the update rule of each step.
// Thread safety: pure functions.
// Invariants: nothing that changes lives here. The state is in flat buffers that the caller owns (zero before step 0),
//   and a rule is a function of step and learning rate alone, so a run resumes from (weights, buffers, step).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/update_rules.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Names of the state buffers in the order in which the rule takes them, as PyTorch calls them in a state_dict: at most
/// two, each with one float a parameter.
std::vector<std::string> state_names(const OptimizerSpec& spec);
int state_buffers(const OptimizerSpec& spec);
/// The update of step `step` (counted from 0) at learning rate `lr`.
UpdateRule rule_of(const OptimizerSpec& spec, std::int64_t step, double lr);

// The same of each, in a file of its own name.
std::vector<std::string> state_names(const SgdSpec& spec);
std::vector<std::string> state_names(const AdamSpec& spec);
std::vector<std::string> state_names(const RmspropSpec& spec);
std::vector<std::string> state_names(const AdagradSpec& spec);
std::vector<std::string> state_names(const LarsSpec& spec);
std::vector<std::string> state_names(const LambSpec& spec);
std::vector<std::string> state_names(const MuonSpec& spec);
UpdateRule rule_of(const SgdSpec& spec, std::int64_t step, double lr);
AdamRule rule_of(const AdamSpec& spec, std::int64_t step, double lr);
UpdateRule rule_of(const RmspropSpec& spec, std::int64_t step, double lr);
AdagradRule rule_of(const AdagradSpec& spec, std::int64_t step, double lr);
LarsRule rule_of(const LarsSpec& spec, std::int64_t step, double lr);
LambRule rule_of(const LambSpec& spec, std::int64_t step, double lr);
MuonRule rule_of(const MuonSpec& spec, std::int64_t step, double lr);

/// "sgd", as in the spec.
std::string optimizer_name(const OptimizerSpec& spec);
/// Which parameters decay.
DecayOn decay_on(const OptimizerSpec& spec);
double weight_decay(const OptimizerSpec& spec);
/// Whether an update depends on more than the element itself: on norms of whole tensors (LARS, LAMB), or on whole
/// matrices (Muon). Those need what UpdatePlan says of tensors, and are not done by apply_update() alone.
bool takes_whole_tensors(const OptimizerSpec& spec);

/// The learning rate that the spec gives, which a schedule then modulates.
double base_lr(const OptimizerSpec& spec);

}  // namespace dptrain
