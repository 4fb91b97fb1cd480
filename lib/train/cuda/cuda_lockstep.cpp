#include "train/cuda/cuda_lockstep.h"

#include <algorithm>

namespace dptrain {

CudaLockstep::CudaLockstep(const Replica::Config& config, Kernels& kernels, Model& model, int most, cudaStream_t stream)
    : config_(config),
      exchange_(*config.exchange),
      stream_(stream),
      floats_(model.measured_floats()),
      merge_(*config.exchange, config.rank, floats_, config.schedule.full().micro_batches.size()) {
  const std::vector<std::int64_t> batches = config.schedule.batch_sizes();
  models_.push_back(&model);
  for (int k = 1; k < most; ++k) {
    owned_.push_back(
        std::make_unique<Model>(config.job.model, kernels, batches.front(), compute_type(config.job.train.precision)));
    owned_.back()->prepare(batches);
    models_.push_back(owned_.back().get());
  }
  const std::size_t bytes = static_cast<std::size_t>(floats_) * sizeof(float);
  whole_ = cuda::device_buffer(bytes);
  host_whole_ = cuda::pinned_buffer(bytes);
  parts_ = cuda::device_buffer(models_.size() * bytes);
  host_parts_ = cuda::pinned_buffer(models_.size() * bytes);
}

void CudaLockstep::bind(const float* weights) {
  for (Model* model : models_) model->bind(weights);
}

void CudaLockstep::begin(int piece) {
  if (piece > 0) copy_async(whole_.data(), host_whole_.data(), whole_.size(), cudaMemcpyHostToDevice, stream_);
}

void CudaLockstep::enqueue(int piece, int k, const Model::Step& step, const Lane& lane) {
  models_[static_cast<std::size_t>(k)]->train_piece(piece, config_.job.seed, step, lane.input, lane.output,
                                                    whole_.floats(), part(parts_, k));
}

void CudaLockstep::end(int piece) {
  if (piece + 1 < pieces())
    copy_async(host_parts_.data(), parts_.data(), parts_.size(), cudaMemcpyDeviceToHost, stream_);
}

double CudaLockstep::meet(int piece, const StepPlan& plan, const std::function<void(const cuda::Event&)>& wait) {
  const Model& model = *models_.front();
  measured_.record(stream_);
  wait(measured_);
  int k = 0;
  for (const Range& root : plan.programs[static_cast<std::size_t>(config_.rank)].roots) {
    for (int m = root.first; m < root.last; ++m)
      std::copy_n(part(host_parts_, k++), model.measured_floats(piece), exchange_.own(config_.rank, m));
  }
  const double waited = exchange_.meet(config_.rank);
  merge_.merge(model, piece, static_cast<int>(plan.micro_batches.size()), host_whole_.floats());
  return waited;
}

}  // namespace dptrain
