#include "train/async/places.h"

#include <algorithm>

namespace dptrain {

MicroBatchPlaces::MicroBatchPlaces(const RunSchedule& schedule)
    : schedule_(schedule),
      steps_(schedule.steps_per_epoch()),
      a_step_(static_cast<std::int64_t>(schedule.full().micro_batches.size())),
      an_epoch_((steps_ - 1) * a_step_ + static_cast<std::int64_t>(schedule.last().micro_batches.size())) {}

MicroBatchPlace MicroBatchPlaces::at(std::int64_t index) const {
  const std::int64_t epoch = index / an_epoch_, rest = index % an_epoch_;
  const std::int64_t step = std::min(rest / a_step_, steps_ - 1);
  return {epoch * steps_ + step, static_cast<int>(rest - step * a_step_)};
}

std::int64_t MicroBatchPlaces::samples(std::int64_t index) const {
  const MicroBatchPlace place = at(index);
  return schedule_.plan(place.step).micro_batches[static_cast<std::size_t>(place.micro_batch)].count;
}

}  // namespace dptrain
