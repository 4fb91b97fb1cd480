#include "train/cuda/cuda_reducer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

static_assert(GradientReducer::kChunk == cuda::kNormChunk);

namespace {

Buffer device_floats(std::int64_t count) {
  return cuda::device_buffer(static_cast<std::size_t>(count) * sizeof(float));
}

float* at(const Buffer& buffer, std::int64_t offset) {
  return buffer.size() == 0 ? nullptr : buffer.floats() + offset;
}

}  // namespace

CudaReducer::CudaReducer(const ReducerConfig& config, int device, bool reproducible)
    : group_(config.group),
      device_(device),
      floats_(config.floats),
      clip_norm_(config.clip_norm),
      loss_scaling_(config.loss_scaling),
      needs_norm_(clip_norm_ || loss_scaling_),
      needs_mean_(needs_norm_ || !config.plan.tensors.empty()),
      plan_(config.plan),
      reproducible_(reproducible),
      state_buffers_(config.state_buffers) {
  cuda::use_device(device);
  members_.resize(static_cast<std::size_t>(group_.size()));
  gradients_.resize(members_.size());
  parameters_ = device_floats(floats_);
  for (int k = 0; k < config.state_buffers; ++k) state_[k] = device_floats(floats_);
  if (config.plan.average) average_ = device_floats(floats_);
  blocks_ = upload_blocks(config.plan.ranges, floats_);
  if (needs_mean_) mean_ = device_floats(floats_);
  if (!needs_norm_) return;
  const std::int64_t chunks = (floats_ + kChunk - 1) / kChunk;
  chunk_squares_ = cuda::device_buffer(static_cast<std::size_t>(chunks) * sizeof(double));
  for (int r = 0; r < group_.size(); ++r) {
    factors_.push_back(device_floats(1));
  }
}

void CudaReducer::to_device(const Buffer& target, const float* from) {
  cuda::use_device(device_);
  cuda::check(cudaMemcpy(target.data(), from, target.size(), cudaMemcpyHostToDevice),
              "the parameters could not be copied to the GPU");
  // A copy from pageable memory returns when it has been read, and replicas' streams do not wait for the default one.
  cuda::check(cudaDeviceSynchronize(), "the parameters could not be copied to the GPU");
}

void CudaReducer::from_device(const Buffer& source, float* to) const {
  const CudaReplica* first = members_.front().replica;
  cuda::use_device(device_);
  // Its stream waits for all updates. Before there are replicas the default stream has the weights that were loaded.
  read_behind(to, source.data(), source.size(), first == nullptr ? nullptr : first->stream());
}

void CudaReducer::load(const float* parameters) {
  to_device(parameters_, parameters);
}

void CudaReducer::save(float* parameters) const {
  from_device(parameters_, parameters);
}

void CudaReducer::load_state(int k, const float* state) {
  to_device(k == state_buffers_ ? average_ : state_[k], state);
}

void CudaReducer::save_state(int k, float* state) const {
  from_device(k == state_buffers_ ? average_ : state_[k], state);
}

void CudaReducer::join(int rank, Replica& replica) {
  Member& member = members_[static_cast<std::size_t>(rank)];
  member.replica = &dynamic_cast<CudaReplica&>(replica);
  gradients_[static_cast<std::size_t>(rank)] = replica.gradients();
  if (loss_scaling_) member.replica->set_scale(loss_scaling_->start);
  if (rank == 0 && !plan_.tensors.empty()) {
    cuda::use_device(device_);
    tensor_updates_ = std::make_unique<CudaTensorUpdates>(plan_, floats_, member.replica->stream(), reproducible_);
  }
  if (!records_update()) return;
  member.replica->finish_steps_with([this, &member](const StepPlan& plan, const cuda::StepConstants* constants) {
    enqueue(member, plan, constants, 0, floats_, [] {});
  });
}

void CudaReducer::begin(int rank, const StepUpdate& update) {
  Member& member = members_[static_cast<std::size_t>(rank)];
  member.rule = update.rule;
  member.replica->set_update(update);
}

double CudaReducer::gather(int) {
  const double start = steady_seconds();
  group_.barrier();
  return steady_seconds() - start;
}

GradientReducer::Times CudaReducer::update(int rank, const StepPlan& plan) {
  Times times;
  const double start = steady_seconds();
  if (!records_update()) {
    Member& member = members_[static_cast<std::size_t>(rank)];
    for (const Member& other : members_) other.replica->computed().make_wait(member.replica->stream());
    const Floats mine = slice(rank);
    enqueue(member, plan, member.replica->constants(), mine.first, mine.count, [&] {
      member.reduced.record(member.replica->stream());
      wait_for_all(rank, &Member::reduced);
    });
    member.updated.record(member.replica->stream());
    wait_for_all(rank, &Member::updated);
  }
  members_[static_cast<std::size_t>(rank)].replica->send_scale();
  times.end = steady_seconds();
  times.reduce = times.end - start;
  return times;
}

bool CudaReducer::finite(int rank, const StepPlan&) {
  return std::isfinite(members_[static_cast<std::size_t>(rank)].replica->gradient_bound());
}

/// Meets the others on the host, so that all events are recorded, and lets this replica's stream wait for them.
void CudaReducer::wait_for_all(int rank, cuda::Event Member::*event) {
  group_.barrier();
  const Member& member = members_[static_cast<std::size_t>(rank)];
  for (const Member& other : members_) (other.*event).make_wait(member.replica->stream());
}

/// The flat buffers from float `first` on.
cuda::Target CudaReducer::target_of(const Member& member, std::int64_t first) const {
  return {.parameters = parameters_.floats() + first,
          .state0 = at(state_[0], first),
          .state1 = at(state_[1], first),
          .blocks = blocks_at(blocks_, first),
          .average = at(average_, first),
          .scale = member.replica->scale()};
}

template <class Meet>
void CudaReducer::enqueue(Member& member, const StepPlan& plan, const cuda::StepConstants* constants,
                          std::int64_t first, std::int64_t count, Meet&& meet) {
  const cuda::SumOrder order = sum_order(plan.combine, gradients_, first);
  const cuda::RuleKind kind = cuda::kind_of(member.rule);
  const cudaStream_t stream = member.replica->stream();
  const cuda::Blocks blocks = blocks_at(blocks_, first);
  const cuda::Target target = target_of(member, first);
  if (!needs_mean_) {
    cuda::combine_and_update(kind, constants, order, count, target, stream);
    return;
  }
  float* mean = mean_.floats() + first;
  const float* factor = nullptr;
  if (needs_norm_) {
    auto* squares = static_cast<double*>(chunk_squares_.data());
    cuda::mean_and_squares(order, constants, count, mean, squares + first / kChunk, stream, blocks,
                           member.replica->scale());
    meet();
    factor = decide(member, squares);
  } else {
    cuda::mean_of_sums(order, constants, count, mean, stream, blocks, member.replica->scale());
    meet();
  }
  if (plan_.tensors.empty())
    cuda::apply_update(kind, constants, factor, count, mean, target, stream);
  else if (&member == members_.data())
    tensor_updates_->enqueue(member.rule, constants, factor, mean_.floats(), target_of(member, 0));
}

/// The factor of all gradients, and whether they are applied: by each replica for itself, from the same squares.
const float* CudaReducer::decide(Member& member, const double* squares) {
  const std::int64_t chunks = (floats_ + kChunk - 1) / kChunk;
  float* factor = factors_[static_cast<std::size_t>(&member - members_.data())].floats();
  const cudaStream_t stream = member.replica->stream();
  if (loss_scaling_)
    cuda::decide_step(squares, chunks, clip_norm_.value_or(std::numeric_limits<double>::infinity()),
                      loss_scaling_->rule, factor, member.replica->scale(), stream);
  else
    cuda::norm_to_clip_factor(squares, chunks, *clip_norm_, factor, stream);
  return factor;
}

std::optional<LossScale> CudaReducer::loss_scale() const {
  if (!loss_scaling_) return {};
  const CudaReplica* replica = members_.front().replica;
  return replica == nullptr ? loss_scaling_->start : replica->read_scale();
}

CudaReducer::Floats CudaReducer::slice(int rank) const {
  const Range chunks = share(static_cast<int>((floats_ + kChunk - 1) / kChunk), group_.size(), rank);
  const std::int64_t first = std::min(floats_, chunks.first * kChunk), end = std::min(floats_, chunks.last * kChunk);
  return {first, end - first};
}

}  // namespace dptrain
