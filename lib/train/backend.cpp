#include "train/backend.h"

namespace dptrain {

ModelPlan plan_model(const ModelSpec& spec, Kernels& kernels, std::span<const std::int64_t> batches) {
  Model model(spec, kernels, batches.front());
  model.prepare(batches);
  return {model.parameters(), model.activation_bytes()};
}

}  // namespace dptrain
