#include "train/cpu/tensor_updates.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "kernels/cpu/apply_update.h"
#include "kernels/cpu/orthogonalise.h"

namespace dptrain {

namespace {

TensorPart part_of(const TensorUpdates::Flat& flat, std::int64_t first, std::int64_t count) {
  const auto span = [&](float* buffer) {
    return buffer == nullptr ? std::span<float>() : std::span<float>(buffer + first, static_cast<std::size_t>(count));
  };
  return {span(flat.parameters), span(flat.gradients), span(flat.state0), span(flat.state1)};
}

/// What is treated so, by itself.
void update_alone(const UpdateRule& rule, const UpdateRange& tensor, const TensorPart& part) {
  const UpdateRanges whole{
      {0, static_cast<std::int64_t>(part.parameters.size()), tensor.treatment, tensor.statistic_rate}};
  apply_update(rule, whole, 0, part.parameters, part.gradients, part.state0, part.state1);
}

}  // namespace

void follow(const AverageRule& rule, float* __restrict average, const float* __restrict parameters,
            std::int64_t count) {
  const AverageRule named = rule;
  for (std::int64_t i = 0; i < count; ++i) named(average[i], parameters[i]);
}

TensorUpdates::TensorUpdates(const UpdatePlan& plan, std::int64_t floats, std::int64_t chunk, int replicas,
                             const std::function<Buffer(std::size_t bytes)>& memory)
    : tensors_(plan.tensors), shares_(static_cast<std::size_t>(replicas)) {
  std::size_t tensor = 0;
  for (std::int64_t offset = 0; offset < floats; offset += chunk) {
    chunk_parts_.push_back(parts_.size());
    const std::int64_t end = std::min(floats, offset + chunk);
    for (std::int64_t at = offset; at < end;) {
      DPTRAIN_CHECK(tensor < tensors_.size() && tensors_[tensor].first <= at, "no tensor holds float {}", at);
      if (tensors_[tensor].first == at) tensor_parts_.push_back(parts_.size());
      const std::int64_t last = tensors_[tensor].first + tensors_[tensor].count;
      parts_.push_back({tensor, at, std::min(end, last) - at});
      at += parts_.back().count;
      if (at == last) ++tensor;
    }
  }
  chunk_parts_.push_back(parts_.size());
  tensor_parts_.push_back(parts_.size());
  squares_memory_ = memory(parts_.size() * sizeof(TensorSquares));
  squares_ = {static_cast<TensorSquares*>(squares_memory_.data()), parts_.size()};
  share_out(plan.matrices);
}

/// The costliest first, each to who has least to do.
void TensorUpdates::share_out(const std::vector<UpdateMatrix>& matrices) {
  const auto cost = [](const UpdateMatrix& m) {
    const auto side = static_cast<double>(std::min(m.rows, m.columns));
    return side * static_cast<double>(m.rows * m.columns) + side * side * side / 2;
  };
  std::vector<UpdateMatrix> sorted = matrices;
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) { return cost(a) > cost(b); });
  std::vector<double> load(shares_.size());
  for (const UpdateMatrix& matrix : sorted) {
    const auto rank = static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    load[rank] += cost(matrix);
    shares_[rank].matrices.push_back(matrix);
  }
  for (Share& share : shares_) {
    std::int64_t largest = 0, scratch = 0;
    for (const UpdateMatrix& matrix : share.matrices) {
      largest = std::max(largest, matrix.rows * matrix.columns);
      scratch = std::max(scratch, orthogonalise_scratch(matrix.rows, matrix.columns));
    }
    if (largest == 0) continue;
    share.matrix = Buffer::host_floats(largest);
    share.scratch = Buffer::host_floats(scratch);
  }
}

void TensorUpdates::begin(const StepUpdate& update, int chunk, const Flat& flat) {
  const auto* muon = std::get_if<MuonRule>(&update.rule);
  const auto k = static_cast<std::size_t>(chunk);
  for (std::size_t p = chunk_parts_[k]; p < chunk_parts_[k + 1]; ++p) {
    const UpdateRange& tensor = tensors_[parts_[p].tensor];
    const TensorPart part = part_of(flat, parts_[p].first, parts_[p].count);
    if (tensor.treatment == Treatment::matrix) {
      const MuonRule named = *muon;
      float *gradients = flat.gradients + parts_[p].first, *momentum = part.state0.data();
      for (std::int64_t i = 0; i < parts_[p].count; ++i) gradients[i] = named.direction(gradients[i], momentum[i]);
    } else if (tensor.treatment == Treatment::decayed && adapts(update.rule)) {
      squares_[p] = measure_part(update.rule, part);
    } else {
      update_alone(update.rule, tensor, part);
    }
  }
}

TensorSquares TensorUpdates::squares_of(std::size_t tensor) const {
  TensorSquares sum;
  for (std::size_t p = tensor_parts_[tensor]; p < tensor_parts_[tensor + 1]; ++p) {
    sum.parameters += squares_[p].parameters;
    sum.update += squares_[p].update;
  }
  return sum;
}

void TensorUpdates::finish(const StepUpdate& update, int rank, Range chunks, const Flat& flat,
                           const ParameterTable* table) {
  UpdateRule rule;
  std::size_t of_tensor = tensors_.size();  // whose norms `rule` is adapted to
  const std::size_t end = chunk_parts_[static_cast<std::size_t>(chunks.last)];
  for (std::size_t p = chunk_parts_[static_cast<std::size_t>(chunks.first)]; p < end; ++p) {
    const Part& part = parts_[p];
    const Treatment treatment = tensors_[part.tensor].treatment;
    if (treatment == Treatment::matrix) continue;
    if (treatment == Treatment::decayed && adapts(update.rule)) {
      if (of_tensor != part.tensor) rule = adapted(update.rule, squares_of(part.tensor));
      of_tensor = part.tensor;
      update_part(rule, part_of(flat, part.first, part.count));
    }
    if (flat.average != nullptr)
      follow(update.average, flat.average + part.first, flat.parameters + part.first, part.count);
  }
  Share& share = shares_[static_cast<std::size_t>(rank)];
  for (const UpdateMatrix& matrix : share.matrices) {
    DPTRAIN_CHECK(table != nullptr, "matrices without a table of parameters");
    finish_matrix(update, matrix, share, flat, *table);
  }
}

void TensorUpdates::finish_matrix(const StepUpdate& update, const UpdateMatrix& matrix, Share& share, const Flat& flat,
                                  const ParameterTable& table) const {
  const MuonRule& rule = std::get<MuonRule>(update.rule);
  const Parameter& parameter = table.all()[matrix.parameter];
  float* canonical = share.matrix.floats();
  table.copy_canonical(parameter, flat.gradients, canonical);
  orthogonalise(matrix.rows, matrix.columns, rule.iterations, rule.epsilon, canonical, share.scratch.floats());
  table.set_canonical(parameter, canonical, flat.gradients);
  float* __restrict weights = flat.parameters + matrix.first;
  const float* __restrict direction = flat.gradients + matrix.first;
  const MuonRule named = rule;
  const float scale = rule.step_scale(matrix.rows, matrix.columns);
  for (std::int64_t i = 0; i < matrix.count; ++i) named.step_matrix(weights[i], direction[i], scale);
  if (flat.average != nullptr) follow(update.average, flat.average + matrix.first, weights, matrix.count);
}

}  // namespace dptrain
