#include "train/cuda/cuda_reducer.h"

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

Buffer device_floats(std::int64_t count) {
  return cuda::device_buffer(static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace

CudaReducer::CudaReducer(LocalGroup& group, int device, std::int64_t floats, int state_buffers,
                         std::optional<double> clip_norm)
    : group_(group), device_(device), floats_(floats), clip_norm_(clip_norm) {
  cuda::use_device(device);
  members_.resize(static_cast<std::size_t>(group.size()));
  gradients_.resize(members_.size());
  parameters_ = device_floats(floats);
  for (int k = 0; k < state_buffers; ++k) state_[k] = device_floats(floats);
  if (!clip_norm_) return;
  const std::int64_t chunks = (floats + kChunk - 1) / kChunk;
  mean_ = device_floats(floats);
  chunk_squares_ = cuda::device_buffer(static_cast<std::size_t>(chunks) * sizeof(double));
  for (int r = 0; r < group.size(); ++r) {
    norm_scratch_.push_back(cuda::device_buffer(static_cast<std::size_t>(cuda::norm_scratch(chunks)) * sizeof(double)));
    factor_.push_back(device_floats(1));
  }
}

void CudaReducer::load(const float* parameters) {
  cuda::use_device(device_);
  cuda::check(cudaMemcpy(parameters_.data(), parameters, parameters_.size(), cudaMemcpyHostToDevice),
              "the parameters could not be copied to the GPU");
}

void CudaReducer::save(float* parameters) const {
  cuda::use_device(device_);
  cuda::check(cudaDeviceSynchronize(), "the GPU's last step failed");
  cuda::check(cudaMemcpy(parameters, parameters_.data(), parameters_.size(), cudaMemcpyDeviceToHost),
              "the parameters could not be copied from the GPU");
}

void CudaReducer::join(int rank, Replica& replica) {
  Member& member = members_[static_cast<std::size_t>(rank)];
  member.replica = &dynamic_cast<CudaReplica&>(replica);
  gradients_[static_cast<std::size_t>(rank)] = &replica.gradients();
  if (group_.size() > 1) return;
  member.replica->finish_steps_with([this, &member](const StepPlan& plan, const cuda::StepConstants* constants) {
    enqueue(member, plan, constants, 0, floats_, [] {});
  });
}

void CudaReducer::begin(int rank, const UpdateRule& rule) {
  Member& member = members_[static_cast<std::size_t>(rank)];
  member.rule = rule;
  member.replica->set_rule(rule);
}

double CudaReducer::gather(int) {
  const double start = steady_seconds();
  group_.barrier();
  return steady_seconds() - start;
}

GradientReducer::Times CudaReducer::update(int rank, const StepPlan& plan) {
  Times times;
  const double start = steady_seconds();
  if (group_.size() > 1) {
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
  times.end = steady_seconds();
  times.reduce = times.end - start;
  return times;
}

/// Meets the others on the host, so that all events are recorded, and lets this replica's stream wait for them.
void CudaReducer::wait_for_all(int rank, cuda::Event Member::*event) {
  group_.barrier();
  const Member& member = members_[static_cast<std::size_t>(rank)];
  for (const Member& other : members_) (other.*event).make_wait(member.replica->stream());
}

template <class Meet>
void CudaReducer::enqueue(Member& member, const StepPlan& plan, const cuda::StepConstants* constants,
                          std::int64_t first, std::int64_t count, Meet&& meet) {
  const cuda::GradientTree tree = member.trees.of(plan, gradients_);
  const cudaStream_t stream = member.replica->stream();
  const auto samples = static_cast<float>(plan.samples);
  const cuda::FlatState state{parameters_.floats(), {state_[0].floats(), state_[1].floats()}};
  if (!clip_norm_) {
    cuda::reduce_and_update(tree, samples, first, count, member.rule, constants, state, stream);
    return;
  }
  const auto rank = static_cast<std::size_t>(&member - members_.data());
  auto* squares = static_cast<double*>(chunk_squares_.data());
  cuda::reduce_to_mean(tree, samples, first, count, kChunk, mean_.floats(), squares, stream);
  meet();
  cuda::find_clip_factor(squares, (floats_ + kChunk - 1) / kChunk, *clip_norm_,
                         static_cast<double*>(norm_scratch_[rank].data()), factor_[rank].floats(), stream);
  cuda::clip_and_update(mean_.floats(), factor_[rank].floats(), first, count, member.rule, constants, state, stream);
}

CudaReducer::Floats CudaReducer::slice(int rank) const {
  const Range chunks = share(static_cast<int>((floats_ + kChunk - 1) / kChunk), group_.size(), rank);
  const std::int64_t first = std::min(floats_, chunks.first * kChunk), end = std::min(floats_, chunks.last * kChunk);
  return {first, end - first};
}

}  // namespace dptrain
