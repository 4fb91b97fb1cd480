#include "kernels/cuda/reduce.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/launch.h"
#include "optim/clip.h"

namespace dptrain::cuda {

namespace {

struct Add {
  const float* other;
  float* target;
  DPTRAIN_HD void operator()(std::int64_t i) const { target[i] += other[i]; }
};

DPTRAIN_HD inline float sum_at(const GradientTree& tree, std::int64_t i) {
  if (tree.length == 1) return tree.leaves[tree.postfix[0]][i];
  float stack[GradientTree::kDeepest];
  int height = 0;
  for (int k = 0; k < tree.length; ++k) {
    const int item = tree.postfix[k];
    if (item == GradientTree::kAdd) {
      --height;
      stack[height - 1] = stack[height - 1] + stack[height];
    } else {
      stack[height++] = tree.leaves[item][i];
    }
  }
  return stack[0];
}

/// The rule's constants are copied out of device memory, because the step that is recorded is replayed with others.
template <class Rule>
DPTRAIN_HD void update_at(const StepConstants* constants, const FlatState& state, std::int64_t i, float gradient) {
  Rule rule;
  memcpy(&rule, constants->rule, sizeof rule);
  if constexpr (Rule::state_buffers == 0) rule(state.parameters[i], gradient);
  if constexpr (Rule::state_buffers == 1) rule(state.parameters[i], gradient, state.state[0][i]);
  if constexpr (Rule::state_buffers == 2) rule(state.parameters[i], gradient, state.state[0][i], state.state[1][i]);
}

template <class Rule>
struct ReduceAndUpdate {
  GradientTree tree;
  float samples;
  std::int64_t first;
  const StepConstants* constants;
  FlatState state;
  DPTRAIN_HD void operator()(std::int64_t k) const {
    const std::int64_t i = first + k;
    update_at<Rule>(constants, state, i, sum_at(tree, i) / samples);
  }
};

struct ReduceToMean {
  GradientTree tree;
  float samples;
  std::int64_t first;
  float* mean;
  DPTRAIN_HD void operator()(std::int64_t k) const { mean[first + k] = sum_at(tree, first + k) / samples; }
};

struct ChunkSquares {
  const float* mean;
  std::int64_t first, end, chunk;
  double* squares;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    const std::int64_t begin = first + c * chunk, stop = begin + chunk < end ? begin + chunk : end;
    double sum = 0;
    for (std::int64_t i = begin; i < stop; ++i) sum += static_cast<double>(mean[i]) * static_cast<double>(mean[i]);
    squares[begin / chunk] = sum;
  }
};

constexpr std::int64_t kGroup = 64;  // chunks that one thread adds up

struct GroupSquares {
  const double* squares;
  std::int64_t chunks;
  double* groups;
  DPTRAIN_HD void operator()(std::int64_t g) const {
    const std::int64_t stop = (g + 1) * kGroup < chunks ? (g + 1) * kGroup : chunks;
    double sum = 0;
    for (std::int64_t c = g * kGroup; c < stop; ++c) sum += squares[c];
    groups[g] = sum;
  }
};

struct Factor {
  const double* groups;
  std::int64_t count;
  double max_norm;
  float* factor;
  DPTRAIN_HD void operator()(std::int64_t) const {
    double sum = 0;
    for (std::int64_t g = 0; g < count; ++g) sum += groups[g];
    *factor = clip_factor(std::sqrt(sum), max_norm);
  }
};

template <class Rule>
struct ClipAndUpdate {
  const float* mean;
  const float* factor;
  std::int64_t first;
  const StepConstants* constants;
  FlatState state;
  DPTRAIN_HD void operator()(std::int64_t k) const {
    const std::int64_t i = first + k;
    update_at<Rule>(constants, state, i, mean[i] * *factor);
  }
};

}  // namespace

StepConstants step_constants(std::int64_t step, const UpdateRule& rule) {
  StepConstants constants;
  constants.step = step;
  std::memset(constants.rule, 0, sizeof constants.rule);
  std::visit(
      [&](const auto& named) {
        static_assert(sizeof named <= StepConstants::kRuleBytes && std::is_trivially_copyable_v<std::decay_t<decltype(named)>>,
                      "a rule's constants are copied to the device as bytes");
        std::memcpy(constants.rule, &named, sizeof named);
      },
      rule);
  return constants;
}

void add(std::int64_t count, const float* other, float* target, cudaStream_t stream) {
  for_each(count, stream, Add{other, target});
}

void reduce_and_update(const GradientTree& tree, float samples, std::int64_t first, std::int64_t count,
                       const UpdateRule& kind, const StepConstants* constants, const FlatState& state,
                       cudaStream_t stream) {
  std::visit(
      [&](const auto& named) {
        using Rule = std::decay_t<decltype(named)>;
        for_each(count, stream, ReduceAndUpdate<Rule>{tree, samples, first, constants, state});
      },
      kind);
}

void reduce_to_mean(const GradientTree& tree, float samples, std::int64_t first, std::int64_t count, std::int64_t chunk,
                    float* mean, double* chunk_squares, cudaStream_t stream) {
  for_each(count, stream, ReduceToMean{tree, samples, first, mean});
  for_each((count + chunk - 1) / chunk, stream, ChunkSquares{mean, first, first + count, chunk, chunk_squares});
}

std::int64_t norm_scratch(std::int64_t chunks) {
  return (chunks + kGroup - 1) / kGroup;
}

void find_clip_factor(const double* chunk_squares, std::int64_t chunks, double max_norm, double* scratch, float* factor,
                      cudaStream_t stream) {
  for_each(norm_scratch(chunks), stream, GroupSquares{chunk_squares, chunks, scratch});
  for_each(1, stream, Factor{scratch, norm_scratch(chunks), max_norm, factor});
}

void clip_and_update(const float* mean, const float* factor, std::int64_t first, std::int64_t count,
                     const UpdateRule& kind, const StepConstants* constants, const FlatState& state,
                     cudaStream_t stream) {
  std::visit(
      [&](const auto& named) {
        using Rule = std::decay_t<decltype(named)>;
        for_each(count, stream, ClipAndUpdate<Rule>{mean, factor, first, constants, state});
      },
      kind);
}

}  // namespace dptrain::cuda
