#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return state_names(named); }, spec);
}

int state_buffers(const OptimizerSpec& spec) {
  return static_cast<int>(state_names(spec).size());
}

UpdateRule rule_of(const OptimizerSpec& spec, std::int64_t step, double lr) {
  return std::visit([&](const auto& named) -> UpdateRule { return rule_of(named, step, lr); }, spec);
}

std::string optimizer_name(const OptimizerSpec& spec) {
  struct Name {
    const char* operator()(const SgdSpec&) const { return "sgd"; }
    const char* operator()(const AdamSpec& adam) const { return adam.decoupled_weight_decay ? "adamw" : "adam"; }
    const char* operator()(const RmspropSpec&) const { return "rmsprop"; }
    const char* operator()(const AdagradSpec&) const { return "adagrad"; }
    const char* operator()(const LarsSpec&) const { return "lars"; }
    const char* operator()(const LambSpec&) const { return "lamb"; }
    const char* operator()(const MuonSpec&) const { return "muon"; }
  };
  return std::visit(Name{}, spec);
}

DecayOn decay_on(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return named.decay_on; }, spec);
}

double weight_decay(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return named.weight_decay; }, spec);
}

bool takes_whole_tensors(const OptimizerSpec& spec) {
  return std::holds_alternative<LarsSpec>(spec) || std::holds_alternative<LambSpec>(spec) ||
         std::holds_alternative<MuonSpec>(spec);
}

double base_lr(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return named.lr; }, spec);
}

}  // namespace dptrain
