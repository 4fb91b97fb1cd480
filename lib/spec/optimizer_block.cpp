// The `optimizer:` block, whose name decides what else is in it.

#include "spec/blocks.h"
#include "spec/kinds.h"
#include "spec/names.h"

namespace dptrain {
namespace {

enum class OptimizerKind { sgd, adam, adamw, rmsprop, adagrad, lars, lamb, muon };

/// Two factors of running means, both below 1.
void read_betas(MapReader& map, std::string_view key, double& first, double& second) {
  std::vector<double> betas{first, second};
  map.optional(key, betas, list_of<double>(number(kBelowOne), "two numbers in [0, 1)"));
  if (betas.size() == 2) {
    first = betas[0];
    second = betas[1];
  } else {
    map.error(key, fmt::format("expected two numbers, found {}", betas.size()), "write [0.9, 0.999]");
  }
}

/// `weight_decay`, and what it is for.
template <class Spec>
void read_decay(MapReader& map, Spec& spec) {
  map.optional("weight_decay", spec.weight_decay, number(kAtLeastZero));
  map.optional("weight_decay_on", spec.decay_on, choice(names::decay_on));
}

template <class Spec>
void read_lr(MapReader& map, Spec& spec, std::optional<double> schedules_lr) {
  spec.lr = schedules_lr.value_or(spec.lr);
  map.optional("lr", spec.lr, number(kAtLeastZero), {"learning_rate"});
}

template <class Spec>
void read_lr_and_epsilon(MapReader& map, Spec& spec, std::optional<double> schedules_lr) {
  read_lr(map, spec, schedules_lr);
  map.optional("eps", spec.epsilon, number(kAboveZero), {"epsilon"});
}

SgdSpec read_sgd(MapReader& map) {
  SgdSpec sgd;
  map.required("lr", sgd.lr, number(kAtLeastZero), {"learning_rate"});
  const bool momentum = map.optional("momentum", sgd.momentum, number(kBelowOne));
  const bool dampening = map.optional("dampening", sgd.dampening, number(kFraction));
  map.optional("nesterov", sgd.nesterov, boolean);
  read_decay(map, sgd);
  if (sgd.nesterov && momentum && dampening && (sgd.momentum == 0 || sgd.dampening != 0)) {
    map.error("nesterov", "needs a momentum above 0 and no dampening", "set momentum: 0.9, dampening: 0");
  }
  if (dampening && momentum && sgd.dampening != 0 && sgd.momentum == 0) {
    map.error("dampening", "has no effect without momentum", "set momentum, or remove it");
  }
  return sgd;
}

AdamSpec read_adam(MapReader& map, bool decoupled, std::optional<double> schedules_lr) {
  AdamSpec adam;
  adam.decoupled_weight_decay = decoupled;
  adam.weight_decay = decoupled ? 0.01 : 0.0;
  read_lr(map, adam, schedules_lr);
  read_betas(map, "betas", adam.beta1, adam.beta2);
  map.optional("eps", adam.epsilon, number(kAboveZero), {"epsilon"});
  read_decay(map, adam);
  map.later("amsgrad", "this is Adam without the AMSGrad variant");
  return adam;
}

RmspropSpec read_rmsprop(MapReader& map, std::optional<double> schedules_lr) {
  RmspropSpec rmsprop;
  read_lr_and_epsilon(map, rmsprop, schedules_lr);
  map.optional("alpha", rmsprop.alpha, number(kBelowOne));
  map.optional("momentum", rmsprop.momentum, number(kBelowOne));
  read_decay(map, rmsprop);
  map.later("centered", "this is RMSprop without centring");
  return rmsprop;
}

AdagradSpec read_adagrad(MapReader& map, std::optional<double> schedules_lr) {
  AdagradSpec adagrad;
  read_lr_and_epsilon(map, adagrad, schedules_lr);
  map.optional("lr_decay", adagrad.lr_decay, number(kAtLeastZero));
  read_decay(map, adagrad);
  map.later("initial_accumulator_value", "the sums of squares begin at 0");
  return adagrad;
}

LarsSpec read_lars(MapReader& map) {
  LarsSpec lars;
  map.required("lr", lars.lr, number(kAtLeastZero), {"learning_rate"});
  map.optional("momentum", lars.momentum, number(kBelowOne));
  map.optional("trust_coefficient", lars.trust_coefficient, number(kAboveZero));
  map.optional("eps", lars.epsilon, number(kAboveZero), {"epsilon"});
  read_decay(map, lars);
  return lars;
}

LambSpec read_lamb(MapReader& map, std::optional<double> schedules_lr) {
  LambSpec lamb;
  read_lr_and_epsilon(map, lamb, schedules_lr);
  read_betas(map, "betas", lamb.beta1, lamb.beta2);
  read_decay(map, lamb);
  return lamb;
}

MuonSpec read_muon(MapReader& map, std::optional<double> schedules_lr) {
  MuonSpec muon;
  read_lr_and_epsilon(map, muon, schedules_lr);
  map.optional("momentum", muon.momentum, number(kBelowOne));
  map.optional("nesterov", muon.nesterov, boolean);
  map.optional("ns_steps", muon.iterations, integer(1, 99));
  map.optional("adjust_lr", muon.scale, choice(names::muon_scale), {"adjust_lr_fn"});
  muon.adamw_lr = muon.lr;
  map.optional("adamw_lr", muon.adamw_lr, number(kAtLeastZero));
  read_betas(map, "adamw_betas", muon.adamw_beta1, muon.adamw_beta2);
  map.optional("adamw_eps", muon.adamw_epsilon, number(kAboveZero));
  read_decay(map, muon);
  if (muon.lr == 0 && muon.adamw_lr != 0) {
    map.error("adamw_lr", "schedules multiply lr, and this is in proportion to it", "set an lr above 0");
  }
  return muon;
}

}  // namespace

OptimizerSpec read_optimizer(const Value& block, std::optional<double> schedules_lr) {
  static const Choices<OptimizerKind> choices{"optimizer",
                                              {{"sgd", OptimizerKind::sgd},
                                               {"adam", OptimizerKind::adam},
                                               {"adamw", OptimizerKind::adamw},
                                               {"rmsprop", OptimizerKind::rmsprop},
                                               {"adagrad", OptimizerKind::adagrad},
                                               {"lars", OptimizerKind::lars},
                                               {"lamb", OptimizerKind::lamb},
                                               {"muon", OptimizerKind::muon}},
                                              {"adadelta", "adamax", "nadam", "radam", "lion", "lbfgs"}};
  MapReader map(block, {.title = block_title(block, "optimizer"), .main = "name"});
  const auto kind = read_kind(map, choices);
  if (!kind) return SgdSpec{};
  const auto read = [&]() -> OptimizerSpec {
    switch (*kind) {
      case OptimizerKind::sgd:
        return read_sgd(map);
      case OptimizerKind::adam:
      case OptimizerKind::adamw:
        return read_adam(map, *kind == OptimizerKind::adamw, schedules_lr);
      case OptimizerKind::rmsprop:
        return read_rmsprop(map, schedules_lr);
      case OptimizerKind::adagrad:
        return read_adagrad(map, schedules_lr);
      case OptimizerKind::lars:
        return read_lars(map);
      case OptimizerKind::lamb:
        return read_lamb(map, schedules_lr);
      case OptimizerKind::muon:
        break;
    }
    return read_muon(map, schedules_lr);
  };
  OptimizerSpec optimizer = read();
  map.finish();
  return optimizer;
}

namespace {

struct OptimizerSettings {
  std::string operator()(const SgdSpec& sgd) const {
    return fmt::format("name: sgd, lr: {}, momentum: {}, dampening: {}, nesterov: {}, {}", sgd.lr, sgd.momentum,
                       sgd.dampening, sgd.nesterov, decay(sgd));
  }
  std::string operator()(const AdamSpec& adam) const {
    return fmt::format("name: {}, lr: {}, betas: [{}, {}], eps: {}, {}", adam.decoupled_weight_decay ? "adamw" : "adam",
                       adam.lr, adam.beta1, adam.beta2, adam.epsilon, decay(adam));
  }
  std::string operator()(const RmspropSpec& rmsprop) const {
    return fmt::format("name: rmsprop, lr: {}, alpha: {}, eps: {}, momentum: {}, {}", rmsprop.lr, rmsprop.alpha,
                       rmsprop.epsilon, rmsprop.momentum, decay(rmsprop));
  }
  std::string operator()(const AdagradSpec& adagrad) const {
    return fmt::format("name: adagrad, lr: {}, lr_decay: {}, eps: {}, {}", adagrad.lr, adagrad.lr_decay,
                       adagrad.epsilon, decay(adagrad));
  }
  std::string operator()(const LarsSpec& lars) const {
    return fmt::format("name: lars, lr: {}, momentum: {}, trust_coefficient: {}, eps: {}, {}", lars.lr, lars.momentum,
                       lars.trust_coefficient, lars.epsilon, decay(lars));
  }
  std::string operator()(const LambSpec& lamb) const {
    return fmt::format("name: lamb, lr: {}, betas: [{}, {}], eps: {}, {}", lamb.lr, lamb.beta1, lamb.beta2,
                       lamb.epsilon, decay(lamb));
  }
  std::string operator()(const MuonSpec& muon) const {
    return fmt::format(
        "name: muon, lr: {}, momentum: {}, nesterov: {}, ns_steps: {}, eps: {}, adjust_lr: {}, adamw_lr: {}, "
        "adamw_betas: [{}, {}], adamw_eps: {}, {}",
        muon.lr, muon.momentum, muon.nesterov, muon.iterations, muon.epsilon, names::muon_scale.name_of(muon.scale),
        muon.adamw_lr, muon.adamw_beta1, muon.adamw_beta2, muon.adamw_epsilon, decay(muon));
  }

  template <class Spec>
  static std::string decay(const Spec& spec) {
    return fmt::format("weight_decay: {}, weight_decay_on: {}", spec.weight_decay,
                       names::decay_on.name_of(spec.decay_on));
  }
};

}  // namespace

std::string optimizer_text(const OptimizerSpec& optimizer) {
  return fmt::format("{{{}}}", std::visit(OptimizerSettings{}, optimizer));
}

}  // namespace dptrain
