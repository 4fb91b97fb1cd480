#include "train/cpu/cpu_reducer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "core/magnitude.h"
#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "train/cpu/add_tree.h"

namespace dptrain {

CpuReducer::CpuReducer(LocalGroup& group, std::int64_t floats, int state_buffers, std::optional<double> clip_norm,
                       UpdatePlan plan, HostGradients* shared)
    : group_(group),
      shared_(shared),
      host_(shared == nullptr ? Range{0, group.size()} : shared->host()),
      floats_(floats),
      clip_norm_(clip_norm),
      state_buffers_(state_buffers),
      ranges_(std::move(plan.ranges)),
      members_(static_cast<std::size_t>(shared == nullptr ? group.size() : shared->placement().replicas)) {
  const auto buffer = [&] { return memory(static_cast<std::size_t>(floats) * sizeof(float)); };
  parameters_ = buffer();
  for (int k = 0; k < state_buffers; ++k) state_[k] = buffer();
  if (plan.average) average_ = buffer();
  if (!plan.tensors.empty())
    tensors_.emplace(plan, floats, kChunk, host_.count(), [this](std::size_t bytes) { return memory(bytes); });
  if (clip_norm_ || tensors_) reduced_ = buffer();
  if (clip_norm_) {
    const auto chunks = static_cast<std::size_t>((floats + kChunk - 1) / kChunk);
    squares_memory_ = memory(chunks * sizeof(double));
    chunk_squares_ = {static_cast<double*>(squares_memory_.data()), chunks};
  }
  if (shared_ == nullptr) return;
  for (int r = host_.first; r < host_.last; ++r) {
    std::vector<float*> buffers;
    for (int k = 0; k < shared_->buffers(r); ++k) buffers.push_back(shared_->buffer(r, k, floats).floats());
    lend(r, buffers);
  }
  if (host_.count() < shared_->placement().replicas) sums_.emplace(*shared_, group, floats, kChunk);
}

Buffer CpuReducer::memory(std::size_t bytes) const {
  return shared_ == nullptr ? Buffer::host(bytes) : shared_->processes().share(bytes);
}

bool CpuReducer::writes() const {
  return shared_ == nullptr || shared_->processes().first_of_host();
}

Range CpuReducer::slice(int rank) const {
  return share(static_cast<int>((floats_ + kChunk - 1) / kChunk), host_.count(), rank - host_.first);
}

const float* CpuReducer::tree_sum(const CombineProgram& program, std::int64_t offset, std::int64_t count,
                                  float* scratch) const {
  return add_tree(
      program,
      [&](const CombineProgram::Leaf& leaf) {
        return members_[static_cast<std::size_t>(leaf.replica)].buffers[static_cast<std::size_t>(leaf.buffer)] + offset;
      },
      count, kChunk, scratch);
}

const float* CpuReducer::whole_sum(const StepPlan& plan, std::int64_t offset, std::int64_t count,
                                   float* scratch) const {
  return sums_ ? sums_->sums() + offset : tree_sum(plan.combine, offset, count, scratch);
}

void CpuReducer::sum_over_hosts(int rank, const StepPlan& plan) {
  Member& member = members_[static_cast<std::size_t>(rank)];
  if (!sums_ || member.summed) return;
  sums_->gather(rank, plan,
                [this](const CombineProgram& program, std::int64_t offset, std::int64_t count, float* scratch) {
                  return tree_sum(program, offset, count, scratch);
                });
  member.summed = true;
}

void CpuReducer::apply(const StepUpdate& update, std::int64_t offset, std::int64_t count, const float* gradient) {
  const auto n = static_cast<std::size_t>(count);
  const auto state = [&](int k) {
    return state_[k].size() == 0 ? std::span<float>() : std::span<float>(state_[k].floats() + offset, n);
  };
  float* parameters = parameters_.floats() + offset;
  if (ranges_.empty())
    apply_update(update.rule, {parameters, n}, {gradient, n}, state(0), state(1));
  else
    apply_update(update.rule, ranges_, offset, {parameters, n}, {gradient, n}, state(0), state(1));
  if (average_.size() != 0) follow(update.average, average_.floats() + offset, parameters, count);
}

void CpuReducer::load(const float* parameters) {
  if (!writes()) return;
  std::memcpy(parameters_.data(), parameters, parameters_.size());
}

void CpuReducer::save(float* parameters) const {
  std::memcpy(parameters, parameters_.data(), parameters_.size());
}

void CpuReducer::load_state(int k, const float* state) {
  if (!writes()) return;
  Buffer& buffer = k == state_buffers_ ? average_ : state_[k];
  std::memcpy(buffer.data(), state, buffer.size());
}

void CpuReducer::save_state(int k, float* state) const {
  const Buffer& buffer = k == state_buffers_ ? average_ : state_[k];
  std::memcpy(state, buffer.data(), buffer.size());
}

double CpuReducer::gather(int) {
  const double start = steady_seconds();
  group_.barrier();
  return steady_seconds() - start;
}

GradientReducer::Times CpuReducer::update(int rank, const StepPlan& plan) {
  Times times;
  const double start = steady_seconds();
  sum_over_hosts(rank, plan);
  const double waited = reduce(rank, plan);
  const double reduced = steady_seconds();
  group_.barrier();  // all slices are updated, and the gradient buffers are free again
  times.end = steady_seconds();
  times.reduce = reduced - start - waited;
  times.wait = waited + (times.end - reduced);
  return times;
}

bool CpuReducer::finite(int rank, const StepPlan& plan) {
  sum_over_hosts(rank, plan);
  alignas(64) float scratch[kDeepestTree * kChunk];
  const Range chunks = slice(rank);
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    if (!std::isfinite(largest_magnitude(whole_sum(plan, offset, count, scratch), count))) return false;
  }
  return true;
}

double CpuReducer::meet() {
  const double start = steady_seconds();
  group_.barrier();
  return steady_seconds() - start;
}

double CpuReducer::reduce(int rank, const StepPlan& plan) {
  const Member& member = members_[static_cast<std::size_t>(rank)];
  alignas(64) float scratch[kDeepestTree * kChunk];
  alignas(64) float mean[kChunk];
  const auto samples = static_cast<float>(plan.samples);
  const Range chunks = slice(rank);
  const TensorUpdates::Flat flat{.parameters = parameters_.floats(),
                                 .gradients = reduced_.size() == 0 ? nullptr : reduced_.floats(),
                                 .state0 = state_[0].size() == 0 ? nullptr : state_[0].floats(),
                                 .state1 = state_[1].size() == 0 ? nullptr : state_[1].floats(),
                                 .average = average_.size() == 0 ? nullptr : average_.floats()};
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    const float* sum = whole_sum(plan, offset, count, scratch);
    float* out = flat.gradients != nullptr ? flat.gradients + offset : mean;
    for (std::int64_t i = 0; i < count; ++i) out[i] = sum[i] / samples;
    if (clip_norm_) {
      chunk_squares_[static_cast<std::size_t>(chunk)] =
          trained_squares(ranges_, offset, {out, static_cast<std::size_t>(count)});
    } else if (tensors_) {
      tensors_->begin(member.update, chunk, flat);
    } else {
      apply(member.update, offset, count, mean);
    }
  }
  double waited = 0;
  if (clip_norm_) {
    waited += meet();  // the norm needs every slice
    double squares = 0;
    for (const double chunk : chunk_squares_) squares += chunk;
    const float factor = clip_factor(std::sqrt(squares), *clip_norm_);
    for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
      const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
      float *whole = flat.gradients + offset, *clipped = tensors_ ? whole : mean;
      clip_trained(ranges_, offset, factor, {whole, static_cast<std::size_t>(count)}, clipped);
      if (tensors_)
        tensors_->begin(member.update, chunk, flat);
      else
        apply(member.update, offset, count, mean);
    }
  }
  if (tensors_) {
    waited += meet();  // so do the norms of tensors, and matrices
    tensors_->finish(member.update, rank - host_.first, chunks, flat, member.table);
  }
  return waited;
}

}  // namespace dptrain
