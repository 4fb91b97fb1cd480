#include "optim/optimizer.h"

#include "optim/adam.h"
#include "optim/sgd.h"

namespace dptrain {
namespace {

std::unique_ptr<Optimizer> make(const SgdSpec& spec) {
  return std::make_unique<Sgd>(spec);
}
std::unique_ptr<Optimizer> make(const AdamSpec& spec) {
  return std::make_unique<Adam>(spec);
}

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return make(named); }, spec);
}

double base_lr(const OptimizerSpec& spec) {
  return std::visit([](const auto& named) { return named.lr; }, spec);
}

}  // namespace dptrain
