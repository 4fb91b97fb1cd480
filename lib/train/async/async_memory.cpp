#include "train/async/async_memory.h"

#include "core/error.h"
#include "train/gradient_reducer.h"

namespace dptrain {

AsyncMemory::AsyncMemory(Run& run, std::int64_t floats, std::int64_t gradients)
    : run_(run),
      floats_(floats),
      room_((floats + GradientReducer::kChunk - 1) / GradientReducer::kChunk * GradientReducer::kChunk),
      gradients_(gradients) {
  if (run.processes.alone()) return;
  const std::int64_t vectors = is_near(run.processes.rank()) ? 1 + run.placement.replicas + gradients : 1;
  shared_ = run.processes.share(static_cast<std::size_t>(vectors * room_) * sizeof(float));
}

bool AsyncMemory::is_near(int process) const {
  const std::vector<Member>& members = run_.processes.members();
  return members[static_cast<std::size_t>(process)].host_first == members.front().host_first;
}

Buffer AsyncMemory::vector(std::int64_t place) {
  const std::size_t bytes = static_cast<std::size_t>(floats_) * sizeof(float);
  if (shared_.size() == 0 || (place > 0 && !is_near(run_.processes.rank()))) return run_.backend->host_buffer(bytes);
  return Buffer::adopt(shared_.floats() + place * room_, bytes, [](void*) {});
}

Buffer AsyncMemory::weights() {
  return vector(0);
}

Buffer AsyncMemory::reading(int rank) {
  return vector(1 + rank);
}

Buffer AsyncMemory::gradient(int number) {
  DPTRAIN_CHECK(shared_.size() == 0 || number < gradients_, "gradient buffer {} of {}", number, gradients_);
  return vector(1 + run_.placement.replicas + number);
}

}  // namespace dptrain
