// Evaluations on a GPU: one chunk of the test set is copied while the one before it is computed.
#include <algorithm>
#include <numeric>

#include "train/cuda/cuda_replica.h"

namespace dptrain {

bool CudaReplica::evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) {
  const Dataset& test = *config_.data.test;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(chunk_));
  const auto mine = [&](auto&& visit) {
    for (std::size_t c = static_cast<std::size_t>(config_.rank); c < sums.size();
         c += static_cast<std::size_t>(config_.replicas)) {
      if (!visit(c)) return false;
    }
    return true;
  };
  const std::int64_t version = versions_.next();
  std::size_t turn = 0;
  const bool complete = mine([&](std::size_t c) {
    if (give_up()) return false;
    TestBuffers& buffers = test_[turn++ % test_.size()];
    wait_(buffers.computed);  // the pass before the last, which had them
    const std::int64_t first = static_cast<std::int64_t>(c) * chunk_;
    const auto count = static_cast<std::size_t>(std::min(chunk_, test.size() - first));
    std::iota(ids.begin(), ids.end(), first);
    if (resident_.test) {
      cuda::gather_images(resident_.test->images(), nullptr, first, static_cast<std::int64_t>(count),
                          buffers.samples.floats(), as<std::int32_t>(buffers.labels), compute_.get());
    } else {
      test.gather({ids.data(), count}, buffers.host_samples.floats(), as<std::int32_t>(buffers.host_labels));
      const std::size_t bytes = count * static_cast<std::size_t>(test.shape().elements()) * sizeof(float);
      copy_async(buffers.samples.data(), buffers.host_samples.data(), bytes, cudaMemcpyHostToDevice, compute_.get());
      copy_async(buffers.labels.data(), buffers.host_labels.data(), count * sizeof(std::int32_t),
                 cudaMemcpyHostToDevice, compute_.get());
    }
    model_->evaluate({step, nullptr, version},
                     {.batch = static_cast<std::int64_t>(count),
                      .ids = nullptr,
                      .x = buffers.samples.floats(),
                      .labels = as<std::int32_t>(buffers.labels)},
                     as<LossSum>(test_sums_) + c);
    buffers.computed.record(compute_.get());
    return true;
  });
  tested_.record(compute_.get());
  wait_(tested_);
  if (!complete) return false;
  return mine([&](std::size_t c) {
    sums[c] = as<LossSum>(test_sums_)[c];
    return true;
  });
}

}  // namespace dptrain
