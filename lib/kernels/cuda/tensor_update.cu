#include <type_traits>

#include "core/host_device.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_update.h"
#include "kernels/cuda/update_element.h"

namespace dptrain::cuda {
namespace {

DPTRAIN_HD inline bool applies(const LossScale* scale) {
  return scale == nullptr || scale->applies;
}

DPTRAIN_HD inline void add_square(double& sum, float value) {
  sum += static_cast<double>(value) * static_cast<double>(value);
}

template <class Rule>
struct MeasurePieces {
  const StepConstants* step;
  TensorPass pass;
  const TensorPiece* pieces;
  TensorSquares* lanes;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const TensorPiece piece = pieces[i / TensorPiece::kLanes];
    TensorSquares squares;
    if (applies(pass.flat.scale)) {
      for (std::int64_t k = i % TensorPiece::kLanes; k < piece.count; k += TensorPiece::kLanes)
        measure(piece.first + k, piece.is_matrix, squares);
    }
    lanes[i] = squares;
  }

  DPTRAIN_HD void measure(std::int64_t at, bool is_matrix, TensorSquares& squares) const {
    const Rule& rule = rule_of<Rule>(*step);
    const float parameter = pass.flat.parameters[at];
    float gradient = pass.gradients[at];
    if (pass.clip_factor != nullptr) gradient = gradient * *pass.clip_factor;
    add_square(squares.parameters, parameter);
    if constexpr (std::is_same_v<Rule, LambRule>) {
      rule.advance(gradient, pass.flat.state0[at], pass.flat.state1[at]);
      gradient = rule.direction(parameter, pass.flat.state0[at], pass.flat.state1[at]);
    }
    if constexpr (std::is_same_v<Rule, MuonRule>) {
      if (is_matrix) pass.gradients[at] = gradient = rule.direction(gradient, pass.flat.state0[at]);
    }
    add_square(squares.update, gradient);
  }
};

struct AddSquares {
  const TensorSquares* from;
  const SquaresRange* ranges;
  TensorSquares* to;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const SquaresRange range = ranges[i];
    TensorSquares sum;
    for (std::int64_t k = range.first; k < range.first + range.count; ++k) {
      sum.parameters += from[k].parameters;
      sum.update += from[k].update;
    }
    to[i] = sum;
  }
};

template <class Rule>
struct TensorFactors {
  const StepConstants* step;
  const TensorSquares* squares;
  float* factors;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Rule& rule = rule_of<Rule>(*step);
    if constexpr (std::is_same_v<Rule, MuonRule>) {
      const auto norm = static_cast<float>(std::sqrt(squares[i].update));
      factors[i] = norm > rule.epsilon ? norm : rule.epsilon;
    } else {
      factors[i] = rule.adapted(squares[i]).adaptation;
    }
  }
};

template <class Rule>
struct UpdateTensors {
  const StepConstants* step;
  TensorPass pass;
  const float* factors;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const Target& flat = pass.flat;
    const UpdateBlock block = block_of(flat.blocks, i);
    if (block.treatment == Treatment::matrix || !applies(flat.scale)) return;
    float gradient = pass.gradients[i];
    if (block.treatment == Treatment::statistic)
      return StatisticRule{block.statistic_rate}(flat.parameters[i], gradient);
    if (pass.clip_factor != nullptr) gradient = gradient * *pass.clip_factor;
    Rule rule = rule_of<Rule>(*step);
    if (block.treatment == Treatment::undecayed) return train(rule.without_decay(), flat, gradient, i);
    if constexpr (!std::is_same_v<Rule, MuonRule>) rule.adaptation = factors[pass.tensors[i / kUpdateBlock]];
    if constexpr (std::is_same_v<Rule, LambRule>) {  // its means went on when it was measured
      rule.step(flat.parameters[i], flat.state0[i], flat.state1[i]);
    } else {
      train(rule, flat, gradient, i);
    }
  }
};

struct Divide {
  const float *from, *divisor;
  float* to;
  DPTRAIN_HD void operator()(std::int64_t i) const { to[i] = from[i] / *divisor; }
};

struct StepMatrix {
  const StepConstants* step;
  const LossScale* scale;
  float step_scale;
  const float* direction;
  float* parameters;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    if (applies(scale)) step->muon.step_matrix(parameters[i], direction[i], step_scale);
  }
};

template <class Use>
void with_rule(RuleKind kind, const Use& use) {
  if (kind == RuleKind::lars) return use(LarsRule{});
  if (kind == RuleKind::lamb) return use(LambRule{});
  if (kind == RuleKind::muon) return use(MuonRule{});
  check(cudaErrorInvalidValue, "this optimizer does not look at whole tensors");
}

}  // namespace

void measure_pieces(RuleKind kind, const StepConstants* step, const TensorPass& pass, const TensorPiece* pieces,
                    std::int64_t count, TensorSquares* lanes, cudaStream_t stream) {
  with_rule(kind, [&](auto rule) {
    for_each(count * TensorPiece::kLanes, stream, MeasurePieces<decltype(rule)>{step, pass, pieces, lanes});
  });
}

void add_squares(const TensorSquares* from, const SquaresRange* ranges, std::int64_t count, TensorSquares* to,
                 cudaStream_t stream) {
  for_each(count, stream, AddSquares{from, ranges, to});
}

void tensor_factors(RuleKind kind, const StepConstants* step, const TensorSquares* squares, std::int64_t count,
                    float* factors, cudaStream_t stream) {
  with_rule(kind, [&](auto rule) { for_each(count, stream, TensorFactors<decltype(rule)>{step, squares, factors}); });
}

void update_tensors(RuleKind kind, const StepConstants* step, const TensorPass& pass, const float* factors,
                    std::int64_t count, cudaStream_t stream) {
  with_rule(kind, [&](auto rule) { for_each(count, stream, UpdateTensors<decltype(rule)>{step, pass, factors}); });
}

void divide(const float* from, const float* divisor, std::int64_t count, float* to, cudaStream_t stream) {
  for_each(count, stream, Divide{from, divisor, to});
}

void step_matrix(const StepConstants* step, const LossScale* scale, float step_scale, const float* direction,
                 std::int64_t count, float* parameters, cudaStream_t stream) {
  for_each(count, stream, StepMatrix{step, scale, step_scale, direction, parameters});
}

}  // namespace dptrain::cuda
