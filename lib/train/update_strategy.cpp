#include "train/update_strategy.h"

#include "core/error.h"
#include "train/async/async_strategy.h"
#include "train/local_sgd/local_sgd_strategy.h"
#include "train/run.h"
#include "train/sync/run_sync.h"

namespace dptrain {

double UpdateStrategy::rate(const Run& run, std::int64_t step) const {
  return run.lr(step);
}

std::unique_ptr<UpdateStrategy> make_strategy(const JobSpec& job) {
  switch (job.mode) {
    case Mode::sync:
      return make_sync_strategy();
    case Mode::local_sgd:
      return make_local_sgd_strategy();
    case Mode::async:
      return make_async_strategy();
  }
  DPTRAIN_CHECK(false, "a mode without a strategy");
}

}  // namespace dptrain
