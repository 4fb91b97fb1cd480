#include "train/cpu/cpu_reducer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/clock.h"
#include "core/error.h"
#include "core/magnitude.h"
#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"

namespace dptrain {

namespace {

constexpr int kDeepestTree = 32;  // more than the logarithm of any number of micro-batches

}  // namespace

CpuReducer::CpuReducer(LocalGroup& group, std::int64_t floats, int state_buffers, std::optional<double> clip_norm,
                       UpdatePlan plan)
    : group_(group),
      floats_(floats),
      clip_norm_(clip_norm),
      state_buffers_(state_buffers),
      ranges_(std::move(plan.ranges)),
      parameters_(Buffer::host_floats(floats)),
      members_(static_cast<std::size_t>(group.size())) {
  for (int k = 0; k < state_buffers; ++k) state_[k] = Buffer::host_floats(floats);
  if (plan.average) average_ = Buffer::host_floats(floats);
  if (!plan.tensors.empty()) tensors_.emplace(plan, floats, kChunk, group.size());
  if (clip_norm_ || tensors_) reduced_ = Buffer::host_floats(floats);
  if (clip_norm_) chunk_squares_.resize(static_cast<std::size_t>((floats + kChunk - 1) / kChunk));
}

Range CpuReducer::slice(int rank) const {
  return share(static_cast<int>((floats_ + kChunk - 1) / kChunk), group_.size(), rank);
}

const float* CpuReducer::tree_sum(const CombineProgram& program, std::int64_t offset, std::int64_t count,
                                  float* scratch) const {
  const float* stack[kDeepestTree];
  int height = 0;
  for (const int item : program.postfix) {
    if (item != CombineProgram::kAdd) {
      const CombineProgram::Leaf& leaf = program.leaves[static_cast<std::size_t>(item)];
      stack[height++] =
          members_[static_cast<std::size_t>(leaf.replica)].buffers[static_cast<std::size_t>(leaf.buffer)] + offset;
      continue;
    }
    --height;
    const float *left = stack[height - 1], *right = stack[height];
    float* sum = scratch + (height - 1) * kChunk;  // each height has a place of its own
    for (std::int64_t i = 0; i < count; ++i) sum[i] = left[i] + right[i];
    stack[height - 1] = sum;
  }
  return stack[0];
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
  std::memcpy(parameters_.data(), parameters, parameters_.size());
}

void CpuReducer::save(float* parameters) const {
  std::memcpy(parameters, parameters_.data(), parameters_.size());
}

void CpuReducer::load_state(int k, const float* state) {
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
  const double waited = reduce(rank, plan);
  const double reduced = steady_seconds();
  group_.barrier();  // all slices are updated, and the gradient buffers are free again
  times.end = steady_seconds();
  times.reduce = reduced - start - waited;
  times.wait = waited + (times.end - reduced);
  return times;
}

bool CpuReducer::finite(int rank, const StepPlan& plan) const {
  alignas(64) float scratch[kDeepestTree * kChunk];
  const Range chunks = slice(rank);
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    if (!std::isfinite(largest_magnitude(tree_sum(plan.combine, offset, count, scratch), count))) return false;
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
    const float* sum = tree_sum(plan.combine, offset, count, scratch);
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
    tensors_->finish(member.update, rank, chunks, flat, member.table);
  }
  return waited;
}

}  // namespace dptrain
