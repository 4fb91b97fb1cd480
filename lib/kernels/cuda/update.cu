#include <cmath>
#include <type_traits>
#include <variant>

#include "core/host_device.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/update.h"
#include "kernels/cuda/update_element.h"

namespace dptrain::cuda {
namespace {

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
    case RuleKind::lars:
    case RuleKind::lamb:
    case RuleKind::muon:
      check(cudaErrorInvalidValue, "an optimizer that looks at whole tensors cannot update element by element");
  }
}

}  // namespace

StepConstants step_constants(std::int64_t number, const StepUpdate& update, float samples) {
  const UpdateRule& rule = update.rule;
  StepConstants step;
  step.average = update.average;
  step.step = number;
  step.samples = samples;
  if (const auto* named = std::get_if<SgdRule>(&rule)) step.sgd = *named;
  if (const auto* named = std::get_if<MomentumRule>(&rule)) step.momentum = *named;
  if (const auto* named = std::get_if<AdamRule>(&rule)) step.adam = *named;
  if (const auto* named = std::get_if<RmspropRule>(&rule)) step.rmsprop = *named;
  if (const auto* named = std::get_if<RmspropMomentumRule>(&rule)) step.rmsprop_momentum = *named;
  if (const auto* named = std::get_if<AdagradRule>(&rule)) step.adagrad = *named;
  if (const auto* named = std::get_if<LarsRule>(&rule)) step.lars = *named;
  if (const auto* named = std::get_if<LambRule>(&rule)) step.lamb = *named;
  if (const auto* named = std::get_if<MuonRule>(&rule)) step.muon = *named;
  return step;
}

RuleKind kind_of(const UpdateRule& rule) {
  if (std::holds_alternative<SgdRule>(rule)) return RuleKind::sgd;
  if (std::holds_alternative<MomentumRule>(rule)) return RuleKind::momentum;
  if (std::holds_alternative<RmspropRule>(rule)) return RuleKind::rmsprop;
  if (std::holds_alternative<RmspropMomentumRule>(rule)) return RuleKind::rmsprop_momentum;
  if (std::holds_alternative<AdagradRule>(rule)) return RuleKind::adagrad;
  if (std::holds_alternative<LarsRule>(rule)) return RuleKind::lars;
  if (std::holds_alternative<LambRule>(rule)) return RuleKind::lamb;
  return std::holds_alternative<MuonRule>(rule) ? RuleKind::muon : RuleKind::adam;
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
