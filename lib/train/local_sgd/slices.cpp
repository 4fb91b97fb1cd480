#include "train/local_sgd/slices.h"

namespace dptrain {

SlicedStep slice_step(std::int64_t samples, std::int64_t workers, std::int64_t micro_batch_size) {
  SlicedStep step;
  std::int64_t first = 0;
  for (std::int64_t worker = 0; worker < workers; ++worker) {
    const std::int64_t count = samples / workers + (worker < samples % workers ? 1 : 0);
    const int before = static_cast<int>(step.micro_batches.size());
    for (const MicroBatch& part : cut(count, micro_batch_size))
      step.micro_batches.push_back({first + part.first, part.count});
    step.slices.push_back({count, {before, static_cast<int>(step.micro_batches.size())}});
    first += count;
  }
  return step;
}

}  // namespace dptrain
