#include "train/cuda/cuda_replica.h"

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"
#include "kernels/cuda/cuda_kernels.h"
#include "train/faults/faults.h"

namespace dptrain {

namespace {

using Kind = ReplicaProgram::Instruction::Kind;

/// The most of one step that the replica runs: any part of it where that may change.
struct Largest {
  std::int64_t samples = 0, micro_batches = 0, floats = 0;  ///< floats: of its samples as they are laid out
  int buffers = 0;
};
Largest largest_step(const Replica::Config& config) {
  const std::int64_t elements = config.data.train->shape().elements();
  Largest largest;
  for (const StepPlan* plan : {&config.schedule.full(), &config.schedule.last()}) {
    const int parts = static_cast<int>(plan->micro_batches.size());
    const ReplicaProgram program =
        config.reassigned ? replica_program(parts, {0, parts}) : plan->programs[static_cast<std::size_t>(config.rank)];
    std::int64_t samples = 0, micro_batches = 0, floats = 0;
    for (const auto& instruction : program.instructions) {
      if (instruction.kind != Kind::run) continue;
      const std::int64_t count = plan->micro_batches[static_cast<std::size_t>(instruction.micro_batch)].count;
      samples += count;
      floats += on_gpu::places(count, elements);
      ++micro_batches;
    }
    largest.floats = std::max(largest.floats, floats);
    largest.samples = std::max(largest.samples, samples);
    largest.micro_batches = std::max(largest.micro_batches, micro_batches);
    largest.buffers = std::max(largest.buffers, config.reassigned ? buffers_for_any_range(parts) : program.buffers);
  }
  return largest;
}

bool is_slowed(const JobSpec& job, int rank) {
  return std::any_of(job.drills.begin(), job.drills.end(),
                     [rank](const DrillSpec& drill) { return drill.kind == DrillKind::slow && drill.replica == rank; });
}

Buffer scale_of(const JobSpec& job) {
  return job.train.precision == Precision::fp16 ? cuda::device_buffer(sizeof(LossScale)) : Buffer();
}

const Replica::Config& on_device(const Replica::Config& config, int device) {
  cuda::use_device(device);
  return config;
}

}  // namespace

CudaReplica::CudaReplica(const Config& config, int device, Resident resident)
    : config_(on_device(config, device)),  // streams and events are made on the thread's current device
      device_(device),
      assignment_(equal_shares(config.schedule, config.replicas)),
      scale_(scale_of(config.job)),
      kernels_(make_cuda_kernels({.device = device,
                                  .stream = compute_.get(),
                                  .tf32 = config.job.train.precision == Precision::tf32,
                                  .reproducible = config.job.reproducible,
                                  .loss_scale = scale()})),
      resident_(std::move(resident)),
      chunk_(evaluation_chunk(config.schedule, config.data.test->size())) {
  const std::vector<std::int64_t> batches = batch_sizes(config);
  model_ =
      std::make_unique<Model>(config.job.model, *kernels_, batches.front(), compute_type(config.job.train.precision));
  model_->prepare(batches, config.job.evaluate.views);

  if (config.steps) prepare_steps();
  if (!config.single_sizes.empty())
    single_ = std::make_unique<SingleMicroBatches>(config_, *model_, resident_.train.get(), versions_, compute_.get());

  const auto chunk = static_cast<std::size_t>(chunk_);
  const std::size_t sample_bytes = static_cast<std::size_t>(config.data.test->shape().elements()) * sizeof(float);
  for (TestBuffers& test : test_) {
    test.samples = cuda::device_buffer(chunk * sample_bytes);
    test.host_samples = cuda::pinned_buffer(chunk * sample_bytes);
    test.labels = cuda::device_buffer(chunk * sizeof(std::int32_t));
    test.host_labels = cuda::pinned_buffer(chunk * sizeof(std::int32_t));
  }
  const std::int64_t chunks = (config.data.test->size() + chunk_ - 1) / chunk_;
  test_sums_ = cuda::pinned_buffer(static_cast<std::size_t>(chunks) * sizeof(LossSum));
}

CudaReplica::~CudaReplica() {
  cudaSetDevice(device_);  // perhaps another thread's than the one that made it
  // What is in line still reads our memory. An error was reported where it happened, or nobody is left to be told.
  cudaStreamSynchronize(copy_.get());
  cudaStreamSynchronize(compute_.get());
  cudaGetLastError();  // nor shall this thread's next call report it
}

void CudaReplica::prepare_steps() {
  const Largest largest = largest_step(config_);
  for (int b = 0; b < largest.buffers; ++b) {
    gradients_.push_back(cuda::device_buffer(static_cast<std::size_t>(parameters().floats()) * sizeof(float)));
    gradient_views_.push_back(gradients_.back().floats());
  }
  DPTRAIN_CHECK(model_->pieces() == 1 || config_.exchange != nullptr, "norms over a step have nowhere to meet");
  if (config_.exchange != nullptr) {
    lockstep_ = std::make_unique<CudaLockstep>(config_, *kernels_, *model_,
                                               std::max(1, static_cast<int>(largest.micro_batches)), compute_.get());
  }
  if (host_decides(config_.job)) watch_.emplace(gradients_.size());
  if (is_slowed(config_.job, config_.rank)) began_ = cuda::device_buffer(sizeof(std::uint64_t));
  for (Buffer& samples : samples_)
    samples = cuda::device_buffer(static_cast<std::size_t>(largest.floats) * sizeof(float));
  for (Slot& slot : slots_) {
    allocate(slot);
    for (auto& recordings : slot.recordings)
      recordings = std::vector<Recording>(static_cast<std::size_t>(model_->pieces()));
    if (config_.reassigned) slot.clock.emplace(static_cast<std::size_t>(model_->pieces()));
  }
  if (resident_.train) {
    source_ = micro_batch_source(config_);
    return;
  }
  loader_ = std::make_unique<Loader>(*config_.data.train, micro_batch_source(config_), config_.schedule.largest_batch(),
                                     config_.job.data.prefetch, config_.loader_workers, &cuda::pinned_buffer);
}

void CudaReplica::allocate(Slot& slot) {
  const Largest largest = largest_step(config_);
  const auto samples = static_cast<std::size_t>(largest.samples);
  const std::size_t header = sizeof(cuda::StepConstants) + samples * (sizeof(std::int64_t) + sizeof(std::int32_t));
  const std::size_t losses = static_cast<std::size_t>(largest.micro_batches) * sizeof(LossSum);
  step_samples_ = largest.samples;
  slot.header = cuda::device_buffer(header);
  slot.host_header = cuda::pinned_buffer(header);
  slot.losses = cuda::pinned_buffer(losses);
  if (scale() != nullptr) slot.host_scale = cuda::pinned_buffer(sizeof(LossScale));
}

std::int64_t* CudaReplica::ids(const Buffer& header) const {
  static_assert(sizeof(cuda::StepConstants) % alignof(std::int64_t) == 0);
  return reinterpret_cast<std::int64_t*>(as<cuda::StepConstants>(header) + 1);
}

std::int32_t* CudaReplica::labels(const Buffer& header) const {
  return reinterpret_cast<std::int32_t*>(ids(header) + step_samples_);
}

void CudaReplica::bind(const float* weights) {
  model_->bind(weights);
  if (lockstep_) lockstep_->bind(weights);
}

Replica::Times CudaReplica::run(const StepTask& task) {
  const std::int64_t step = task.step;
  Times times;
  const double start = steady_seconds();
  latest_ = step;
  // Nothing uses the slot any more: collect() has waited for the step that had it before.
  Slot& free = slot(step);
  take_assignment(free);
  times.data = load(step, free);
  times.wait = compute(task, free);
  times.compute = steady_seconds() - start - times.data - times.wait + waited_;
  waited_ = 0;
  return times;
}

/// The slot's next step runs by the latest assignment. What was recorded of another one has been replayed for the last
/// time.
void CudaReplica::take_assignment(Slot& slot) const {
  if (slot.assignment == assignment_) return;
  slot.assignment = assignment_;
  for (auto& recordings : slot.recordings)
    for (Recording& recording : recordings) recording.renew();
}

double CudaReplica::load(std::int64_t step, Slot& slot) {
  const auto samples = static_cast<float>(plan(step).samples);
  *as<cuda::StepConstants>(slot.host_header) = cuda::step_constants(step, update_, samples);
  if (loader_) return load_batches(step, slot);
  name_samples(step, slot);
  return 0;
}

void CudaReplica::name_samples(std::int64_t step, Slot& slot) {
  std::int64_t* next = ids(slot.host_header);
  std::int64_t left = step_samples_;
  for (const auto& instruction : program(step).instructions) {
    if (instruction.kind != Kind::run) continue;
    const auto count = static_cast<std::int64_t>(source_({next, static_cast<std::size_t>(left)}).count);
    next += count;
    left -= count;
  }
}

double CudaReplica::load_batches(std::int64_t step, Slot& slot) {
  const StepPlan& plan = this->plan(step);
  const std::int64_t elements = config_.data.train->shape().elements();
  double waited = 0;
  if (step >= kBatches) wait_(this->slot(step - kBatches).computed);  // which read the samples that lie there
  std::int64_t offset = 0, place = 0;                           // of the micro-batch: in samples, in floats
  for (const auto& instruction : program(step).instructions) {
    if (instruction.kind != Kind::run) continue;
    const double start = steady_seconds();
    release_batch();
    const Batch& batch = loader_->next();
    waited += steady_seconds() - start;
    const std::int64_t count = plan.micro_batches[static_cast<std::size_t>(instruction.micro_batch)].count;
    DPTRAIN_CHECK(count == static_cast<std::int64_t>(batch.ids.size()), "a batch of {} samples where {} were due",
                  batch.ids.size(), count);
    copy_async(samples(step) + place, batch.samples, static_cast<std::size_t>(count * elements) * sizeof(float),
               cudaMemcpyHostToDevice, copy_.get());
    batch_copied_.record(copy_.get());
    batch_lent_ = true;
    std::copy(batch.ids.begin(), batch.ids.end(), ids(slot.host_header) + offset);
    std::copy_n(batch.labels, count, labels(slot.host_header) + offset);
    offset += count;
    place += on_gpu::places(count, elements);
  }
  return waited;
}

/// The loader gets its slot back as soon as the device has read it. By the time the next batch is wanted that is long
/// past.
void CudaReplica::release_batch() {
  if (!batch_lent_) return;
  batch_copied_.synchronize();
  loader_->release();
  batch_lent_ = false;
}

void CudaReplica::assign(std::shared_ptr<const Assignment> assignment, std::int64_t step) {
  for (const StepPlan* plan : {&assignment->full(), &assignment->last()}) {
    const int needed = plan->programs[static_cast<std::size_t>(config_.rank)].buffers;
    DPTRAIN_CHECK(static_cast<std::size_t>(needed) <= gradients_.size(), "{} gradient buffers for a program of {}",
                  gradients_.size(), needed);
  }
  assignment_ = std::move(assignment);
  Loader::Source source = micro_batch_source(config_, assignment_, step);
  if (!loader_) {
    source_ = std::move(source);
    return;
  }
  release_batch();
  loader_->restart(std::move(source));
}

void CudaReplica::set_scale(const LossScale& scale) {
  cuda::use_device(device_);
  cuda::check(cudaMemcpy(scale_.data(), &scale, sizeof scale, cudaMemcpyHostToDevice), "copying the loss scale");
  cuda::check(cudaDeviceSynchronize(), "copying the loss scale");
}

LossScale CudaReplica::read_scale() const {
  LossScale scale;
  read_behind(&scale, scale_.data(), sizeof scale, compute_.get());
  return scale;
}

void CudaReplica::send_scale() {
  if (scale() == nullptr) return;
  Slot& of_step = slot(latest_);
  copy_async(of_step.host_scale.data(), scale_.data(), sizeof(LossScale), cudaMemcpyDeviceToHost, compute_.get());
  of_step.scaled.record(compute_.get());
}

double CudaReplica::collect(std::int64_t step, std::vector<LossSum>& losses) {
  const double start = steady_seconds();
  wait_(slot(step).computed);
  if (scale() != nullptr) {
    wait_(slot(step).scaled);
    collected_scale_ = *as<LossScale>(slot(step).host_scale);
  }
  waited_ += steady_seconds() - start;
  const LossSum* sums = as<LossSum>(slot(step).losses);
  for (const auto& instruction : program(step).instructions) {
    if (instruction.kind == Kind::run) losses[static_cast<std::size_t>(instruction.micro_batch)] = *sums++;
  }
  return slot(step).clock ? slot(step).clock->seconds() : 0;
}

std::string CudaReplica::handicap() const {
  std::string refused = single_ ? single_->refused() : "";
  for (const Slot& slot : slots_) {
    for (const auto& recordings : slot.recordings)
      for (const Recording& recording : recordings)
        if (refused.empty()) refused = recording.refused();
  }
  return refused.empty()
             ? ""
             : fmt::format("GPU {} ran steps without a graph, which costs the host time: {}", device_, refused);
}

Replica::Gradient CudaReplica::gradient(const GradientTask& task) {
  DPTRAIN_CHECK(single_, "a replica that was made for whole steps alone");
  return single_->run(task, wait_);
}

void CudaReplica::bind_host(const float* weights) {
  DPTRAIN_CHECK(single_, "a replica that was made for whole steps alone");
  single_->bind(weights, wait_);
}

}  // namespace dptrain
