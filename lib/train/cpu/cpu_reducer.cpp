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
                       UpdateRanges ranges)
    : group_(group),
      floats_(floats),
      clip_norm_(clip_norm),
      ranges_(std::move(ranges)),
      parameters_(Buffer::host_floats(floats)),
      members_(static_cast<std::size_t>(group.size())) {
  for (int k = 0; k < state_buffers; ++k) state_[k] = Buffer::host_floats(floats);
  if (clip_norm_) {
    reduced_ = Buffer::host_floats(floats);
    chunk_squares_.resize(static_cast<std::size_t>((floats + kChunk - 1) / kChunk));
  }
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

void CpuReducer::apply(const UpdateRule& rule, std::int64_t offset, std::int64_t count, const float* gradient) {
  const auto n = static_cast<std::size_t>(count);
  const auto state = [&](int k) {
    return state_[k].size() == 0 ? std::span<float>() : std::span<float>(state_[k].floats() + offset, n);
  };
  apply_update(rule, ranges_, offset, {parameters_.floats() + offset, n}, {gradient, n}, state(0), state(1));
}

void CpuReducer::load(const float* parameters) {
  std::memcpy(parameters_.data(), parameters, parameters_.size());
}

void CpuReducer::save(float* parameters) const {
  std::memcpy(parameters, parameters_.data(), parameters_.size());
}

void CpuReducer::load_state(int k, const float* state) {
  std::memcpy(state_[k].data(), state, state_[k].size());
}

void CpuReducer::save_state(int k, float* state) const {
  std::memcpy(state, state_[k].data(), state_[k].size());
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

double CpuReducer::reduce(int rank, const StepPlan& plan) {
  const UpdateRule& rule = members_[static_cast<std::size_t>(rank)].rule;
  alignas(64) float scratch[kDeepestTree * kChunk];
  alignas(64) float mean[kChunk];
  const auto samples = static_cast<float>(plan.samples);
  const Range chunks = slice(rank);
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    const float* sum = tree_sum(plan.combine, offset, count, scratch);
    float* out = clip_norm_ ? reduced_.floats() + offset : mean;
    for (std::int64_t i = 0; i < count; ++i) out[i] = sum[i] / samples;
    if (!clip_norm_) {
      apply(rule, offset, count, mean);
      continue;
    }
    chunk_squares_[static_cast<std::size_t>(chunk)] =
        trained_squares(ranges_, offset, {out, static_cast<std::size_t>(count)});
  }
  if (!clip_norm_) return 0;

  const double start = steady_seconds();
  group_.barrier();  // the norm needs every slice
  const double waited = steady_seconds() - start;
  double squares = 0;
  for (const double chunk : chunk_squares_) squares += chunk;
  const float factor = clip_factor(std::sqrt(squares), *clip_norm_);
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    clip_trained(ranges_, offset, factor, {reduced_.floats() + offset, static_cast<std::size_t>(count)}, mean);
    apply(rule, offset, count, mean);
  }
  return waited;
}

}  // namespace dptrain
