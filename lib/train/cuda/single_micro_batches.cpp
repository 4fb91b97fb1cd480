#include "train/cuda/single_micro_batches.h"

#include <algorithm>
#include <limits>

#include "core/clock.h"
#include "core/error.h"
#include "core/magnitude.h"

namespace dptrain {

SingleMicroBatches::SingleMicroBatches(const Replica::Config& config, Model& model, const ResidentImages* train,
                                       WeightVersions& versions, cudaStream_t stream)
    : config_(config),
      model_(model),
      train_(train),
      versions_(versions),
      stream_(stream),
      sampler_(config.data.train->size(), config.job.seed, config.job.train.shuffle),
      most_(*std::max_element(config.single_sizes.begin(), config.single_sizes.end())) {
  for (const std::int64_t size : config.single_sizes) sizes_.push_back({size, {}});
  const std::size_t flat = static_cast<std::size_t>(model.parameters().floats()) * sizeof(float);
  const auto most = static_cast<std::size_t>(most_);
  const std::size_t header = sizeof(std::int64_t) + most * (sizeof(std::int64_t) + sizeof(std::int32_t));
  const std::size_t samples = most * static_cast<std::size_t>(config.data.train->shape().elements()) * sizeof(float);
  weights_ = cuda::device_buffer(flat);
  gradient_ = cuda::device_buffer(flat);
  header_ = cuda::device_buffer(header);
  host_header_ = cuda::pinned_buffer(header);
  samples_ = cuda::device_buffer(samples);
  if (train_ == nullptr) host_samples_ = cuda::pinned_buffer(samples);
  loss_ = cuda::pinned_buffer(sizeof(LossSum));
}

std::int64_t* SingleMicroBatches::ids(const Buffer& header) const {
  return as<std::int64_t>(header) + 1;
}

std::int32_t* SingleMicroBatches::labels(const Buffer& header) const {
  return reinterpret_cast<std::int32_t*>(ids(header) + most_);
}

Replica::Gradient SingleMicroBatches::run(const GradientTask& task, const Wait& wait) {
  Replica::Gradient result;
  const double start = steady_seconds();
  const float* samples = load(task);
  const double loaded = steady_seconds();
  if (version_ != task.version) {
    upload(task.weights);
    version_ = task.version;
  }
  copy_async(header_.data(), host_header_.data(), header_.size(), cudaMemcpyHostToDevice, stream_);
  if (samples != nullptr) {
    const std::int64_t floats = task.count * config_.data.train->shape().elements();
    copy_async(samples_.data(), samples, static_cast<std::size_t>(floats) * sizeof(float), cudaMemcpyHostToDevice,
               stream_);
  }
  const auto size =
      std::find_if(sizes_.begin(), sizes_.end(), [&](const OfSize& of) { return of.samples == task.count; });
  DPTRAIN_CHECK(size != sizes_.end(), "no micro-batch of {} samples was prepared", task.count);
  size->recording.run(stream_, [&] { enqueue(task); });
  copy_async(task.gradient, gradient_.data(), gradient_.size(), cudaMemcpyDeviceToHost, stream_);
  done_.record(stream_);
  wait(done_);
  if (task.poison) task.gradient[0] = std::numeric_limits<float>::quiet_NaN();
  result.loss = *as<LossSum>(loss_);
  result.largest = largest_magnitude(task.gradient, model_.parameters().floats());
  result.data = loaded - start;
  result.compute = steady_seconds() - loaded;
  return result;
}

/// The header, and where the samples lie in the host's memory; null where the device has them.
const float* SingleMicroBatches::load(const GradientTask& task) {
  *as<std::int64_t>(host_header_) = task.step;
  if (task.batch != nullptr && train_ == nullptr) {
    DPTRAIN_CHECK(static_cast<std::int64_t>(task.batch->ids.size()) == task.count, "a batch of {} samples for {}",
                  task.batch->ids.size(), task.count);
    std::copy(task.batch->ids.begin(), task.batch->ids.end(), ids(host_header_));
    std::copy_n(task.batch->labels, task.count, labels(host_header_));
    return task.batch->samples;
  }
  const std::span<std::int64_t> here(ids(host_header_), static_cast<std::size_t>(task.count));
  sampler_.order(config_.schedule.epoch(task.step), config_.schedule.first_sample(task.step) + task.first, here);
  if (train_ != nullptr) return nullptr;
  config_.data.train->gather_augmented(here, augmentation(config_, task.step), host_samples_.floats(),
                                       labels(host_header_));
  return host_samples_.floats();
}

void SingleMicroBatches::upload(const float* weights) {
  copy_async(weights_.data(), weights, weights_.size(), cudaMemcpyHostToDevice, stream_);
  model_.bind(weights_.floats());
}

/// The kernels of a micro-batch. What is recorded here is replayed for others of its size.
void SingleMicroBatches::enqueue(const GradientTask& task) {
  if (train_ != nullptr) {
    cuda::gather_images(train_->images(), ids(header_), 0, task.count, samples_.floats(), labels(header_), stream_);
  }
  model_.train(config_.job.seed, {task.step, as<std::int64_t>(header_), versions_.next()},
               {.batch = task.count, .ids = ids(header_), .x = samples_.floats(), .labels = labels(header_)},
               {.gradients = gradient_.floats(), .loss = as<LossSum>(loss_)});
}

std::string SingleMicroBatches::refused() const {
  for (const OfSize& size : sizes_)
    if (!size.recording.refused().empty()) return size.recording.refused();
  return {};
}

void SingleMicroBatches::bind(const float* weights, const Wait& wait) {
  version_.reset();
  upload(weights);
  done_.record(stream_);
  wait(done_);
}

}  // namespace dptrain
