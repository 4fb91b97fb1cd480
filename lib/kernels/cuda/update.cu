#include <cmath>
#include <type_traits>
#include <variant>

#include "core/host_device.h"
#include "kernels/clip.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/update.h"

namespace dptrain::cuda {
namespace {

DPTRAIN_HD inline float ordered_sum(const SumOrder& order, std::int64_t i) {
  if (order.length == 1) return order.leaves[0][i];
  float stack[SumOrder::kDeepest];
  int height = 0;
  for (int k = 0; k < order.length; ++k) {
    const int item = order.postfix[k];
    if (item != SumOrder::kAdd) {
      stack[height++] = order.leaves[item][i];
      continue;
    }
    --height;
    stack[height - 1] += stack[height];
  }
  return stack[0];
}

template <class Rule>
DPTRAIN_HD const Rule& rule_of(const StepConstants& step);
template <>
DPTRAIN_HD const SgdRule& rule_of<SgdRule>(const StepConstants& step) {
  return step.sgd;
}
template <>
DPTRAIN_HD const MomentumRule& rule_of<MomentumRule>(const StepConstants& step) {
  return step.momentum;
}
template <>
DPTRAIN_HD const AdamRule& rule_of<AdamRule>(const StepConstants& step) {
  return step.adam;
}

DPTRAIN_HD inline UpdateBlock block_of(Blocks blocks, std::int64_t i) {
  return blocks == nullptr ? UpdateBlock{} : blocks[i / kUpdateBlock];
}

template <>
DPTRAIN_HD const RmspropRule& rule_of<RmspropRule>(const StepConstants& step) {
  return step.rmsprop;
}
template <>
DPTRAIN_HD const RmspropMomentumRule& rule_of<RmspropMomentumRule>(const StepConstants& step) {
  return step.rmsprop_momentum;
}
template <>
DPTRAIN_HD const AdagradRule& rule_of<AdagradRule>(const StepConstants& step) {
  return step.adagrad;
}

template <class Rule>
DPTRAIN_HD void train(const Rule& rule, const Target& target, float gradient, std::int64_t i) {
  if constexpr (Rule::state_buffers == 0) rule(target.parameters[i], gradient);
  if constexpr (Rule::state_buffers == 1) rule(target.parameters[i], gradient, target.state0[i]);
  if constexpr (Rule::state_buffers == 2) rule(target.parameters[i], gradient, target.state0[i], target.state1[i]);
}

/// Whether all steps before this one, which applies, were left out by the loss scale: it is the optimizer's first.
DPTRAIN_HD inline bool comes_first(const StepConstants& step, const LossScale* scale) {
  return scale != nullptr && scale->skipped_steps == step.step;
}

/// What the average follows by; an average begins as the weights after the first step that applies.
DPTRAIN_HD inline AverageRule average_of(const StepConstants& step, const LossScale* scale) {
  return comes_first(step, scale) ? AverageRule{} : step.average;
}

/// `clip_factor` is null where nothing is clipped.
template <class Rule>
DPTRAIN_HD void update(const StepConstants& step, const Target& target, float gradient, const float* clip_factor,
                       std::int64_t i) {
  if (target.scale != nullptr && !target.scale->applies) return;
  const UpdateBlock block = block_of(target.blocks, i);
  if (block.treatment == Treatment::statistic) {
    StatisticRule{block.statistic_rate}(target.parameters[i], gradient);
  } else {
    if (clip_factor != nullptr) gradient = gradient * *clip_factor;
    Rule rule = rule_of<Rule>(step);
    if constexpr (std::is_same_v<Rule, MomentumRule>) {
      if (comes_first(step, target.scale)) rule.gradient_share = 1;
    }
    train(block.treatment == Treatment::undecayed ? rule.without_decay() : rule, target, gradient, i);
  }
  if (target.average != nullptr) average_of(step, target.scale)(target.average[i], target.parameters[i]);
}

struct Pack {
  const float* values;
  __nv_bfloat16* packed;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(packed[i], values[i]); }
};

struct Unpack {
  const __nv_bfloat16* packed;
  float* values;
  DPTRAIN_HD void operator()(std::int64_t i) const { values[i] = wide(packed[i]); }
};

struct Add {
  float* target;
  const float* other;
  DPTRAIN_HD void operator()(std::int64_t i) const { target[i] += other[i]; }
};

struct MeanOfSums {
  SumOrder order;
  const StepConstants* step;
  float* mean;
  Blocks blocks;
  const LossScale* scale;  // null: gradients are not scaled
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const float value = ordered_sum(order, i) / step->samples;
    const bool scaled = scale != nullptr && block_of(blocks, i).treatment != Treatment::statistic;
    mean[i] = scaled ? value / scale->factor : value;
  }
};

struct ChunkSquares {
  const float* mean;
  Blocks blocks;
  std::int64_t count;
  double* squares;
  DPTRAIN_HD void operator()(std::int64_t chunk) const {
    const std::int64_t first = chunk * kNormChunk;
    const std::int64_t last = first + kNormChunk < count ? first + kNormChunk : count;
    double sum = 0;
    for (std::int64_t i = first; i < last; ++i) {
      if (block_of(blocks, i).treatment != Treatment::statistic)
        sum += static_cast<double>(mean[i]) * static_cast<double>(mean[i]);
    }
    squares[chunk] = sum;
  }
};

/// `count` doubles added in their order, so many of them on their way from memory at a time.
DPTRAIN_HD inline double add_in_order(double sum, const double* values, std::int64_t count) {
  constexpr int kAhead = 16;
  std::int64_t k = 0;
  for (; k + kAhead <= count; k += kAhead) {
    double ahead[kAhead];
    for (int a = 0; a < kAhead; ++a) ahead[a] = values[k + a];
    for (int a = 0; a < kAhead; ++a) sum += ahead[a];
  }
  for (; k < count; ++k) sum += values[k];
  return sum;
}

/// The squares of a chunk by all threads of a group, and their sum in index order by the first.
struct ChunkOfSquares {
  static constexpr int kThreads = 256;
  double squares[kNormChunk];

  DPTRAIN_HD void put(int place, float value, bool is_trained) {
    squares[place] = is_trained ? static_cast<double>(value) * static_cast<double>(value) : 0.0;
  }
  DPTRAIN_HD double sum() const {
    return add_in_order(0, squares, kNormChunk);
  }
};
static_assert(kNormChunk % ChunkOfSquares::kThreads == 0);

/// mean_of_sums() and chunk_squares() of a chunk, by a group of threads.
struct MeanAndSquares {
  static constexpr int kThreads = ChunkOfSquares::kThreads, kPhases = 2;
  struct Thread {};
  using Shared = ChunkOfSquares;
  SumOrder order;
  const StepConstants* step;
  float* mean;
  Blocks blocks;
  const LossScale* scale;  // null: gradients are not scaled
  std::int64_t count;
  double* squares;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t chunk, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) {
      for (int place = thread; place < static_cast<int>(kNormChunk); place += kThreads) {
        const std::int64_t i = chunk * kNormChunk + place;
        if (i >= count) {
          shared.put(place, 0, false);
          continue;
        }
        const bool is_trained = block_of(blocks, i).treatment != Treatment::statistic;
        const float sum = ordered_sum(order, i) / step->samples;
        const float value = scale != nullptr && is_trained ? sum / scale->factor : sum;
        mean[i] = value;
        shared.put(place, value, is_trained);
      }
    } else {
      if (thread == 0) squares[chunk] = shared.sum();
    }
  }
};

/// The sum of the chunks' squares in their order, and what is made of it, by the first thread of a group; the others bring it as many
/// of them as they can keep, which are all of a model of four million parameters.
template <class Use>
struct OfAllSquares {
  static constexpr int kThreads = 256, kPhases = 2;
  static constexpr std::int64_t kKept = 4096;
  struct Thread {};
  struct Shared {
    double squares[kKept];
  };
  const double* squares;
  std::int64_t chunks;
  Use use;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t, int thread, Shared& shared, Thread&) const {
    const std::int64_t kept = chunks < kKept ? chunks : kKept;
    if constexpr (phase == 0) {
      for (std::int64_t k = thread; k < kept; k += kThreads) shared.squares[k] = squares[k];
    } else {
      if (thread == 0) use(add_in_order(add_in_order(0, shared.squares, kept), squares + kept, chunks - kept));
    }
  }
};

struct ClipFactor {
  double max_norm;
  float* factor;
  DPTRAIN_HD void operator()(double sum) const { *factor = clip_factor(std::sqrt(sum), max_norm); }
};

struct DecideStep {
  double max_norm;
  LossScaleRule rule;
  float* factor;
  LossScale* scale;
  DPTRAIN_HD void operator()(double sum) const {
    constexpr double kLargest =
        1e300;  // of finite floats the sum is far below, and neither infinity nor NaN is below it
    LossScale state = *scale;
    rule.step(state, sum < kLargest);
    *scale = state;
    *factor = clip_factor(std::sqrt(sum), max_norm);
  }
};

template <class Rule>
struct ApplyUpdate {
  const StepConstants* step;
  const float* clip_factor;  // null: none
  const float* gradients;
  Target target;
  DPTRAIN_HD void operator()(std::int64_t i) const { update<Rule>(*step, target, gradients[i], clip_factor, i); }
};

template <class Rule>
struct CombineAndUpdate {
  SumOrder order;
  const StepConstants* step;
  Target target;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    update<Rule>(*step, target, ordered_sum(order, i) / step->samples, nullptr, i);
  }
};

struct Follow {
  const StepConstants* step;
  float* average;
  const float* parameters;
  const LossScale* scale;  // null: every step applies
  DPTRAIN_HD void operator()(std::int64_t i) const {
    if (scale == nullptr || scale->applies) average_of(*step, scale)(average[i], parameters[i]);
  }
};

template <class Use>
void with_rule(RuleKind kind, const Use& use) {
  switch (kind) {
    case RuleKind::sgd:
      return use(SgdRule{});
    case RuleKind::momentum:
      return use(MomentumRule{});
    case RuleKind::adam:
      return use(AdamRule{});
    case RuleKind::rmsprop:
      return use(RmspropRule{});
    case RuleKind::rmsprop_momentum:
      return use(RmspropMomentumRule{});
    case RuleKind::adagrad:
      return use(AdagradRule{});
  }
}

}  // namespace

StepConstants step_constants(std::int64_t number, const StepUpdate& update, float samples) {
  const UpdateRule& rule = update.rule;
  StepConstants step;
  step.average = update.average;
  step.step = number;
  step.samples = samples;
  if (const auto* sgd = std::get_if<SgdRule>(&rule)) step.sgd = *sgd;
  if (const auto* momentum = std::get_if<MomentumRule>(&rule)) step.momentum = *momentum;
  if (const auto* adam = std::get_if<AdamRule>(&rule)) step.adam = *adam;
  if (const auto* rmsprop = std::get_if<RmspropRule>(&rule)) step.rmsprop = *rmsprop;
  if (const auto* rmsprop = std::get_if<RmspropMomentumRule>(&rule)) step.rmsprop_momentum = *rmsprop;
  if (const auto* adagrad = std::get_if<AdagradRule>(&rule)) step.adagrad = *adagrad;
  return step;
}

RuleKind kind_of(const UpdateRule& rule) {
  if (std::holds_alternative<SgdRule>(rule)) return RuleKind::sgd;
  if (std::holds_alternative<MomentumRule>(rule)) return RuleKind::momentum;
  if (std::holds_alternative<RmspropRule>(rule)) return RuleKind::rmsprop;
  if (std::holds_alternative<RmspropMomentumRule>(rule)) return RuleKind::rmsprop_momentum;
  return std::holds_alternative<AdagradRule>(rule) ? RuleKind::adagrad : RuleKind::adam;
}

std::vector<UpdateBlock> update_blocks(const UpdateRanges& ranges, std::int64_t floats) {
  std::vector<UpdateBlock> blocks;
  if (ranges.empty()) return blocks;
  blocks.resize(static_cast<std::size_t>((floats + kUpdateBlock - 1) / kUpdateBlock));
  for (const UpdateRange& range : ranges) {
    for (std::int64_t i = range.first; i < range.first + range.count; i += kUpdateBlock)
      blocks[static_cast<std::size_t>(i / kUpdateBlock)] = {range.treatment, range.statistic_rate};
  }
  return blocks;
}

void pack_bf16(const float* values, std::int64_t count, void* packed, cudaStream_t stream) {
  for_each(count, stream, Pack{values, elements<__nv_bfloat16>(packed)});
}

void unpack_bf16(const void* packed, std::int64_t count, float* values, cudaStream_t stream) {
  for_each(count, stream, Unpack{elements<__nv_bfloat16>(packed), values});
}

void add(float* target, const float* other, std::int64_t count, cudaStream_t stream) {
  for_each(count, stream, Add{target, other});
}

void mean_of_sums(const SumOrder& order, const StepConstants* step, std::int64_t count, float* mean,
                  cudaStream_t stream, Blocks blocks, const LossScale* scale) {
  for_each(count, stream, MeanOfSums{order, step, mean, blocks, scale});
}

void chunk_squares(const float* mean, Blocks blocks, std::int64_t count, double* squares, cudaStream_t stream) {
  for_each((count + kNormChunk - 1) / kNormChunk, stream, ChunkSquares{mean, blocks, count, squares});
}

void mean_and_squares(const SumOrder& order, const StepConstants* step, std::int64_t count, float* mean, double* squares,
                      cudaStream_t stream, Blocks blocks, const LossScale* scale) {
  for_each_group((count + kNormChunk - 1) / kNormChunk, stream,
                 MeanAndSquares{order, step, mean, blocks, scale, count, squares});
}

void norm_to_clip_factor(const double* squares, std::int64_t chunks, double max_norm, float* factor,
                         cudaStream_t stream) {
  for_each_group(1, stream, OfAllSquares<ClipFactor>{squares, chunks, {max_norm, factor}});
}

void decide_step(const double* squares, std::int64_t chunks, double max_norm, const LossScaleRule& rule, float* factor,
                 LossScale* scale, cudaStream_t stream) {
  for_each_group(1, stream, OfAllSquares<DecideStep>{squares, chunks, {max_norm, rule, factor, scale}});
}

void apply_update(RuleKind kind, const StepConstants* step, const float* clip_factor, std::int64_t count,
                  const float* gradients, const Target& target, cudaStream_t stream) {
  with_rule(kind, [&](auto rule) {
    for_each(count, stream, ApplyUpdate<decltype(rule)>{step, clip_factor, gradients, target});
  });
}

void follow(const StepConstants* step, std::int64_t count, float* average, const float* parameters,
            const LossScale* scale, cudaStream_t stream) {
  for_each(count, stream, Follow{step, average, parameters, scale});
}

void combine_and_update(RuleKind kind, const StepConstants* step, const SumOrder& order, std::int64_t count,
                        const Target& target, cudaStream_t stream) {
  with_rule(kind, [&](auto rule) { for_each(count, stream, CombineAndUpdate<decltype(rule)>{order, step, target}); });
}

}  // namespace dptrain::cuda
