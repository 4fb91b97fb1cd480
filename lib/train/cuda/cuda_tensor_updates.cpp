#include "train/cuda/cuda_tensor_updates.h"

#include <algorithm>

#include "core/error.h"
#include "train/cuda/stream_work.h"
#include "train/cuda/update_blocks.h"

namespace dptrain {

namespace {

std::vector<std::int32_t> tensors_by_block(const UpdateRanges& tensors, std::int64_t floats) {
  std::vector<std::int32_t> of_block(static_cast<std::size_t>((floats + kUpdateBlock - 1) / kUpdateBlock));
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    for (std::int64_t i = tensors[t].first; i < tensors[t].first + tensors[t].count; i += kUpdateBlock)
      of_block[static_cast<std::size_t>(i / kUpdateBlock)] = static_cast<std::int32_t>(t);
  }
  return of_block;
}

}  // namespace

CudaTensorUpdates::CudaTensorUpdates(const UpdatePlan& plan, std::int64_t floats, cudaStream_t stream,
                                     bool reproducible)
    : floats_(floats),
      stream_(stream),
      matrices_(plan.matrices),
      blocks_(upload_blocks(plan.tensors, floats)),
      tensors_(upload(tensors_by_block(plan.tensors, floats))),
      orthogonaliser_(stream, reproducible) {
  measure(plan.tensors);
  factors_ = cuda::device_buffer(plan.tensors.size() * sizeof(float));
  for (const UpdateMatrix& matrix : matrices_) orthogonaliser_.prepare(matrix.rows, matrix.columns);
}

/// Pieces of the tensors that are measured, and how their squares become those of tensors: in levels, each of which
/// adds up so many entries of a tensor that no thread has much to do.
void CudaTensorUpdates::measure(const UpdateRanges& tensors) {
  constexpr std::int64_t kTogether = 64;
  std::vector<cuda::TensorPiece> pieces;
  std::vector<cuda::SquaresRange> of_tensor;  // entries of the latest level
  for (const UpdateRange& tensor : tensors) {
    const auto before = static_cast<std::int64_t>(pieces.size());
    const bool is_measured = tensor.treatment == Treatment::decayed || tensor.treatment == Treatment::matrix;
    for (std::int64_t at = 0; is_measured && at < tensor.count; at += cuda::TensorPiece::kFloats) {
      pieces.push_back({.first = tensor.first + at,
                        .count = static_cast<std::int32_t>(std::min(cuda::TensorPiece::kFloats, tensor.count - at)),
                        .is_matrix = tensor.treatment == Treatment::matrix});
    }
    of_tensor.push_back({before * cuda::TensorPiece::kLanes,
                         (static_cast<std::int64_t>(pieces.size()) - before) * cuda::TensorPiece::kLanes});
  }
  piece_count_ = static_cast<std::int64_t>(pieces.size());
  pieces_ = upload(pieces);
  lanes_ =
      cuda::device_buffer(std::max<std::size_t>(1, pieces.size()) * cuda::TensorPiece::kLanes * sizeof(TensorSquares));
  const auto is_done = [&] {
    return std::all_of(of_tensor.begin(), of_tensor.end(), [](const auto& range) { return range.count <= kTogether; });
  };
  for (bool done = false; !done;) {
    done = is_done();
    std::vector<cuda::SquaresRange> ranges;
    for (cuda::SquaresRange& entries : of_tensor) {
      const auto first = static_cast<std::int64_t>(ranges.size());
      std::int64_t at = 0;
      do {  // a tensor that is not measured has an entry too, of nothing
        ranges.push_back({entries.first + at, std::min(kTogether, entries.count - at)});
        at += kTogether;
      } while (at < entries.count);
      entries = {first, static_cast<std::int64_t>(ranges.size()) - first};
    }
    levels_.push_back({.ranges = upload(ranges),
                       .squares = cuda::device_buffer(ranges.size() * sizeof(TensorSquares)),
                       .count = static_cast<std::int64_t>(ranges.size())});
  }
  DPTRAIN_CHECK(levels_.back().count == static_cast<std::int64_t>(tensors.size()), "{} sums of {} tensors",
                levels_.back().count, tensors.size());
}

void CudaTensorUpdates::enqueue(const UpdateRule& rule, const cuda::StepConstants* step, const float* clip_factor,
                                float* gradients, cuda::Target flat) {
  const cuda::RuleKind kind = cuda::kind_of(rule);
  flat.blocks = as<UpdateBlock>(blocks_);
  const cuda::TensorPass pass{
      .flat = flat, .gradients = gradients, .clip_factor = clip_factor, .tensors = as<std::int32_t>(tensors_)};
  auto* squares = as<TensorSquares>(lanes_);
  cuda::measure_pieces(kind, step, pass, as<cuda::TensorPiece>(pieces_), piece_count_, squares, stream_);
  for (const Level& level : levels_) {
    auto* sums = as<TensorSquares>(level.squares);
    cuda::add_squares(squares, as<cuda::SquaresRange>(level.ranges), level.count, sums, stream_);
    squares = sums;
  }
  cuda::tensor_factors(kind, step, squares, levels_.back().count, factors_.floats(), stream_);
  cuda::update_tensors(kind, step, pass, factors_.floats(), floats_, stream_);
  for (const UpdateMatrix& matrix : matrices_) enqueue_matrix(matrix, std::get<MuonRule>(rule), step, gradients, flat);
  if (flat.average != nullptr) cuda::follow(step, floats_, flat.average, flat.parameters, flat.scale, stream_);
}

/// A matrix lies with its outputs as rows; in which order the inputs are makes no difference to what is orthogonal.
void CudaTensorUpdates::enqueue_matrix(const UpdateMatrix& matrix, const MuonRule& rule,
                                       const cuda::StepConstants* step, const float* directions,
                                       const cuda::Target& flat) {
  const std::int64_t count = matrix.rows * matrix.columns;
  cuda::divide(directions + matrix.first, factors_.floats() + matrix.parameter, count, orthogonaliser_.matrix(),
               stream_);
  const float* orthogonal = orthogonaliser_.run(matrix.rows, matrix.columns, rule.iterations);
  cuda::step_matrix(step, flat.scale, rule.step_scale(matrix.rows, matrix.columns), orthogonal, count,
                    flat.parameters + matrix.first, stream_);
}

}  // namespace dptrain
