#include "train/async/step_collector.h"

namespace dptrain {

void StepCollector::ended(const MicroBatchPlace& place, const LossSum* loss, double now) {
  while (first_ + static_cast<std::int64_t>(open_.size()) <= place.step) {
    const std::size_t count = schedule_.plan(first_ + static_cast<std::int64_t>(open_.size())).micro_batches.size();
    open_.push_back({.losses = std::vector<LossSum>(count), .missing = static_cast<int>(count)});
  }
  Step& step = open_[static_cast<std::size_t>(place.step - first_)];
  const auto m = static_cast<std::size_t>(place.micro_batch);
  if (loss != nullptr)
    step.losses[m] = *loss;
  else
    step.skipped += schedule_.plan(place.step).micro_batches[m].count;
  --step.missing;
  while (!open_.empty() && open_.front().missing == 0) {
    open_.front().end = now;
    complete_(first_, open_.front());
    open_.pop_front();
    ++first_;
  }
}

}  // namespace dptrain
