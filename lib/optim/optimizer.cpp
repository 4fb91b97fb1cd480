#include "optim/optimizer.h"

#include "optim/adagrad.h"
#include "optim/adam.h"
#include "optim/lamb.h"
#include "optim/lars.h"
#include "optim/muon.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"

namespace dptrain {
namespace {

std::unique_ptr<Optimizer> make(const SgdSpec& spec) {
  return std::make_unique<Sgd>(spec);
}
std::unique_ptr<Optimizer> make(const AdamSpec& spec) {
  return std::make_unique<Adam>(spec);
}
std::unique_ptr<Optimizer> make(const RmspropSpec& spec) {
  return std::make_unique<Rmsprop>(spec);
}
std::unique_ptr<Optimizer> make(const AdagradSpec& spec) {
  return std::make_unique<Adagrad>(spec);
}
std::unique_ptr<Optimizer> make(const LarsSpec& spec) {
  return std::make_unique<Lars>(spec);
}
std::unique_ptr<Optimizer> make(const LambSpec& spec) {
  return std::make_unique<Lamb>(spec);
}
std::unique_ptr<Optimizer> make(const MuonSpec& spec) {
  return std::make_unique<Muon>(spec);
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return make(named); }, spec);
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
