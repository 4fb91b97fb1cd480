// The GPU's end of a step against the CPU's, bit for bit: sums in the tree's order, the norm, and every update rule.
#include <cmath>
#include <vector>

#include "core/philox.h"
#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "kernels/cuda/update.h"
#include "support/gpu.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

const std::vector<UpdateRule> kRules{
    SgdRule{.lr = 0.1f, .weight_decay = 5e-4f},
    MomentumRule{.lr = 0.1f, .weight_decay = 5e-4f, .buffer_decay = 0.9f, .lookahead = 1, .buffer_share = 0.9f},
    AdamRule{.step_size = 1e-3f,
             .coupled_decay = 1e-2f,
             .average_weight = 0.1f,
             .square_decay = 0.999f,
             .square_share = 1e-3f,
             .square_correction = 0.03f,
             .epsilon = 1e-8f},
    RmspropRule{.lr = 0.01f, .weight_decay = 1e-2f, .square_decay = 0.9f, .square_share = 0.1f, .epsilon = 1e-8f},
    RmspropMomentumRule{.scale = {.lr = 0.01f, .square_decay = 0.9f, .square_share = 0.1f, .epsilon = 1e-8f},
                        .momentum = 0.9f},
    AdagradRule{.lr = 0.01f, .weight_decay = 1e-2f, .epsilon = 1e-10f}};

/// Postfix programs of trees over 1, 2, 3 and 5 leaves.
const std::vector<std::vector<std::int8_t>> kTrees{{0}, {0, 1, -1}, {0, 1, -1, 2, -1}, {0, 1, -1, 2, 3, -1, -1, 4, -1}};

std::vector<float> draw(std::uint64_t item, std::int64_t count) {
  const RandomStream stream(1, RandomPurpose::test);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = stream.uniform(item, i) - 0.5f;
  return values;
}

/// Gradient sums, parameters and state on both sides.
struct Bench {
  Bench(const cuda::Stream& stream, const std::vector<std::int8_t>& tree, std::int64_t count)
      : parameters(draw(1, count)), state0(draw(2, count)), state1(draw(3, count)) {
    for (float& square : state0) square += 0.5f;  // a mean of squares is not negative
    for (float& square : state1) square += 0.5f;
    order.length = static_cast<int>(tree.size());
    for (std::size_t k = 0; k < tree.size(); ++k) {
      order.postfix[k] = tree[k];
      if (tree[k] == cuda::SumOrder::kAdd) continue;
      leaves.push_back(draw(10 + static_cast<std::uint64_t>(tree[k]), count));
      on_gpu.push_back(on_device(stream, leaves.back()));
      order.leaves[tree[k]] = on_gpu.back().floats();
    }
    p = on_device(stream, parameters);
    s0 = on_device(stream, state0);
    s1 = on_device(stream, state1);
  }
  /// The mean on the host, with float additions in the order of the tree.
  std::vector<float> mean(float samples) const {
    std::vector<std::vector<float>> stack;
    for (int k = 0; k < order.length; ++k) {
      if (order.postfix[k] != cuda::SumOrder::kAdd) {
        stack.push_back(leaves[static_cast<std::size_t>(order.postfix[k])]);
        continue;
      }
      const std::vector<float> right = stack.back();
      stack.pop_back();
      for (std::size_t i = 0; i < right.size(); ++i) stack.back()[i] += right[i];
    }
    for (float& value : stack.back()) value /= samples;
    return stack.back();
  }
  cuda::Target target(cuda::Blocks blocks = nullptr) const { return {p.floats(), s0.floats(), s1.floats(), blocks}; }
  void check(const cuda::Stream& stream) const {
    CHECK(read(stream, p) == parameters);
    CHECK(read(stream, s0) == state0);
    CHECK(read(stream, s1) == state1);
  }

  std::vector<std::vector<float>> leaves;
  std::vector<float> parameters, state0, state1;
  cuda::SumOrder order;
  std::vector<Buffer> on_gpu;
  Buffer p, s0, s1;
};

}  // namespace

TEST_CASE("sum, mean and update have the CPU's bits") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  for (const UpdateRule& rule : kRules) {
    for (const auto& tree : kTrees) {
      for (const std::int64_t count : {1, 257, 40'003}) {
        Bench bench(stream, tree, count);
        const Buffer step = on_device(stream, std::vector{cuda::step_constants(0, rule, 96)});
        cuda::combine_and_update(cuda::kind_of(rule), static_cast<const cuda::StepConstants*>(step.data()), bench.order,
                                 count, bench.target(), stream.get());
        apply_update(rule, bench.parameters, bench.mean(96), bench.state0, bench.state1);
        bench.check(stream);
      }
    }
  }
}

TEST_CASE("clipping by the global norm has the CPU's bits") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  for (const double max_norm : {0.5, 1e6}) {
    for (const std::int64_t count : {1, 1024, 1025, 300'007}) {
      const UpdateRule& rule = kRules[1];
      Bench bench(stream, kTrees[2], count);
      const Buffer step = on_device(stream, std::vector{cuda::step_constants(0, rule, 7)});
      const auto* constants = static_cast<const cuda::StepConstants*>(step.data());
      const std::int64_t chunks = (count + cuda::kNormChunk - 1) / cuda::kNormChunk;
      const Buffer mean = cuda::device_buffer(static_cast<std::size_t>(count) * sizeof(float)),
                   squares = cuda::device_buffer(static_cast<std::size_t>(chunks) * sizeof(double)),
                   factor = cuda::device_buffer(sizeof(float));
      auto* sums = static_cast<double*>(squares.data());
      cuda::mean_and_squares(bench.order, constants, count, mean.floats(), sums, stream.get());
      cuda::norm_to_clip_factor(sums, chunks, max_norm, factor.floats(), stream.get());
      cuda::apply_update(cuda::kind_of(rule), constants, factor.floats(), count, mean.floats(), bench.target(),
                         stream.get());

      std::vector<float> gradients = bench.mean(7);
      double all = 0;
      for (std::int64_t first = 0; first < count; first += cuda::kNormChunk) {
        double chunk = 0;
        for (std::int64_t i = first; i < std::min(first + cuda::kNormChunk, count); ++i) {
          const double value = gradients[static_cast<std::size_t>(i)];
          chunk += value * value;
        }
        all += chunk;
      }
      const float clip = clip_factor(std::sqrt(all), max_norm);
      for (float& value : gradients) value *= clip;
      apply_update(rule, bench.parameters, gradients, bench.state0, bench.state1);
      bench.check(stream);
    }
  }
}

TEST_CASE("parameters that decay, that do not, and statistics, clipped and not") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  const UpdateRanges ranges{{0, 1040},
                            {1040, 16, Treatment::undecayed},
                            {1056, 32, Treatment::statistic, 0.1f},
                            {1088, 16, Treatment::statistic, 0.5f},
                            {1104, 3000}};
  const std::int64_t count = 4104, chunks = (count + cuda::kNormChunk - 1) / cuda::kNormChunk;
  const Buffer blocks = on_device(stream, cuda::update_blocks(ranges, count));
  const auto* table = static_cast<cuda::Blocks>(blocks.data());
  for (const UpdateRule& rule : kRules) {
    for (const double max_norm : {0.0, 0.5}) {
      Bench bench(stream, kTrees[3], count);
      const AverageRule average{.kept = 0.75f, .share = 0.25f};
      const Buffer step = on_device(stream, std::vector{cuda::step_constants(0, {rule, average}, 7)});
      std::vector<float> averages = draw(4, count);
      const Buffer averages_on_gpu = on_device(stream, averages);
      cuda::Target target = bench.target(table);
      target.average = averages_on_gpu.floats();
      const auto* constants = static_cast<const cuda::StepConstants*>(step.data());
      std::vector<float> gradients = bench.mean(7);
      if (max_norm == 0) {
        cuda::combine_and_update(cuda::kind_of(rule), constants, bench.order, count, target, stream.get());
      } else {
        const Buffer mean = cuda::device_buffer(gradients.size() * sizeof(float));
        const Buffer squares = cuda::device_buffer(static_cast<std::size_t>(chunks) * sizeof(double)),
                     factor = cuda::device_buffer(sizeof(float));
        auto* sums = static_cast<double*>(squares.data());
        cuda::mean_and_squares(bench.order, constants, count, mean.floats(), sums, stream.get(), table);
        cuda::norm_to_clip_factor(sums, chunks, max_norm, factor.floats(), stream.get());
        cuda::apply_update(cuda::kind_of(rule), constants, factor.floats(), count, mean.floats(), target, stream.get());
        double all = 0;
        for (std::int64_t first = 0; first < count; first += cuda::kNormChunk) {
          const auto n = static_cast<std::size_t>(std::min(cuda::kNormChunk, count - first));
          all += trained_squares(ranges, first, std::span(gradients).subspan(static_cast<std::size_t>(first), n));
        }
        std::vector<float> clipped(gradients.size());
        clip_trained(ranges, 0, clip_factor(std::sqrt(all), max_norm), gradients, clipped.data());
        gradients = clipped;
      }
      apply_update(rule, ranges, 0, bench.parameters, gradients, bench.state0, bench.state1);
      bench.check(stream);
      for (std::size_t i = 0; i < averages.size(); ++i) average(averages[i], bench.parameters[i]);
      CHECK(read(stream, averages_on_gpu) == averages);
      cuda::follow(constants, count, averages_on_gpu.floats(), bench.p.floats(), nullptr, stream.get());
      for (std::size_t i = 0; i < averages.size(); ++i) average(averages[i], bench.parameters[i]);
      CHECK(read(stream, averages_on_gpu) == averages);
    }
  }
}

TEST_CASE("a replayed step reads that step's constants") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  constexpr std::int64_t kCount = 1000;
  Bench bench(stream, kTrees[1], kCount);
  const Buffer step = cuda::device_buffer(sizeof(cuda::StepConstants)),
               pinned = cuda::pinned_buffer(sizeof(cuda::StepConstants));
  const cuda::Graph graph = cuda::Graph::capture(stream.get(), [&] {
    cuda::add(const_cast<float*>(bench.order.leaves[0]), bench.order.leaves[1], kCount, stream.get());
    cuda::combine_and_update(cuda::RuleKind::momentum, static_cast<const cuda::StepConstants*>(step.data()),
                             bench.order, kCount, bench.target(), stream.get());
  });
  for (const float lr : {0.5f, 0.25f, 0.01f}) {
    const UpdateRule rule = MomentumRule{.lr = lr, .buffer_decay = lr == 0.5f ? 0.0f : 0.9f};
    const float samples = lr * 100;
    *static_cast<cuda::StepConstants*>(pinned.data()) = cuda::step_constants(0, rule, samples);
    cuda::check(cudaMemcpyAsync(step.data(), pinned.data(), pinned.size(), cudaMemcpyHostToDevice, stream.get()),
                "cudaMemcpyAsync");
    graph.launch(stream.get());
    for (std::size_t i = 0; i < bench.leaves[0].size(); ++i) bench.leaves[0][i] += bench.leaves[1][i];
    apply_update(rule, bench.parameters, bench.mean(samples), bench.state0, bench.state1);
    bench.check(stream);
  }
}

TEST_CASE("more elements than threads that run at a time") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  constexpr std::int64_t kCount = 3'000'001;
  std::vector<float> left = draw(1, kCount);
  const std::vector<float> right = draw(2, kCount);
  const Buffer target = on_device(stream, left), other = on_device(stream, right);
  cuda::add(target.floats(), other.floats(), kCount, stream.get());
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  CHECK(read(stream, target) == left);
}
