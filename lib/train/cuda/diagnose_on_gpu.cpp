// Where a step of a replica on a GPU went wrong.
#include <cmath>

#include "train/cuda/cuda_replica.h"

namespace dptrain {

/// Its micro-batches once more, one after the other. Where they run in pieces, what one of them spoils is in all: their
/// losses and the gradients' place in the order of micro-batches are not known then.
std::optional<NotFinite> CudaReplica::diagnose(const StepTask& task) {
  if (lockstep_) return std::nullopt;
  Slot& slot = this->slot(task.step);
  const Model::Step step{task.step, &slot.constants()->step, versions_.next()};
  std::vector<float> gradient(static_cast<std::size_t>(parameters().floats()));
  std::optional<NotFinite> found;
  bool first = true;
  each_instruction(
      task.step, slot,
      [&](const auto& instruction, const Model::Input& input, LossSum* loss) {
        if (found) return;
        model_->train(config_.job.seed, step, input, {.gradients = gradient_views_.front(), .loss = loss});
        read_behind(gradient.data(), gradient_views_.front(), gradient.size() * sizeof(float), compute_.get());
        if (task.poison && first) gradient.front() = NAN;
        first = false;
        NotFinite here{.micro_batch = instruction.micro_batch, .loss = !std::isfinite(loss->loss), .parameter = {}};
        if (const Parameter* parameter = first_not_finite(parameters(), gradient.data()))
          here.parameter = parameter->name;
        if (here.loss || !here.parameter.empty()) found = std::move(here);
      },
      [](const auto&) {});
  return found;
}

}  // namespace dptrain
