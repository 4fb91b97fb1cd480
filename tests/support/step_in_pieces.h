// Purpose: the micro-batches of a step through models of their own, piece by piece, as a replica runs them in lockstep:
//   for tests of layers that need sums over a step. Thread safety: none.
#pragma once

#include <memory>
#include <vector>

#include "nn/model.h"

namespace dptrain::testing {

class StepInPieces {
 public:
  struct MicroBatch {
    std::vector<std::int64_t> ids;
    std::vector<float> x;
    std::vector<std::int32_t> labels;
  };

  /// For `count` micro-batches of these sizes.
  StepInPieces(const ModelSpec& spec, int count, const std::vector<std::int64_t>& batches)
      : kernels_(make_cpu_kernels()) {
    for (int k = 0; k < count; ++k) {
      models_.push_back(std::make_unique<Model>(spec, *kernels_, batches.front()));
      models_.back()->prepare(batches);
    }
  }

  Model& model(std::size_t k = 0) { return *models_[k]; }
  void bind(const float* parameters) {
    for (const auto& model : models_) model->bind(parameters);
  }

  /// The gradient sum over all samples, and their loss.
  double train(std::uint64_t seed, std::int64_t step, const std::vector<MicroBatch>& parts,
               std::vector<float>& gradients) {
    const std::size_t floats = static_cast<std::size_t>(model().parameters().floats());
    std::vector<Buffer> each;
    std::vector<std::vector<float>> measured(parts.size());
    std::vector<LossSum> losses(parts.size());
    std::vector<float> whole(static_cast<std::size_t>(model().measured_floats()));
    for (std::size_t k = 0; k < parts.size(); ++k) {
      each.push_back(Buffer::host_floats(static_cast<std::int64_t>(floats)));
      std::fill_n(each.back().floats(), floats, 77.0f);  // what no layer writes is nobody's
      measured[k].resize(whole.size());
    }
    for (int piece = 0; piece < model().pieces(); ++piece) {
      for (std::size_t k = 0; k < parts.size(); ++k) {
        const MicroBatch& part = parts[k];
        model(k).train_piece(
            piece, seed, {step, &step, {}},
            {static_cast<std::int64_t>(part.ids.size()), part.ids.data(), part.x.data(), part.labels.data()},
            {.gradients = each[k].floats(), .loss = &losses[k]}, whole.data(), measured[k].data());
      }
      if (piece + 1 < model().pieces()) whole = merged(piece, measured, 0, parts.size());
    }
    gradients.assign(floats, 0.0f);
    double loss = 0;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      loss += losses[k].loss;
      for (std::size_t i = 0; i < floats; ++i) gradients[i] += each[k].floats()[i];
    }
    return loss;
  }

 private:
  std::vector<float> merged(int piece, const std::vector<std::vector<float>>& parts, std::size_t first,
                            std::size_t last) {
    if (last - first == 1) return parts[first];
    std::size_t half = 1;
    while (2 * half < last - first) half *= 2;
    std::vector<float> left = merged(piece, parts, first, first + half);
    model().merge(piece, left.data(), merged(piece, parts, first + half, last).data(), left.data());
    return left;
  }

  std::unique_ptr<Kernels> kernels_;
  std::vector<std::unique_ptr<Model>> models_;
};

}  // namespace dptrain::testing
