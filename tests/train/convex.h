// Purpose: linear least squares, whose optimum is known: one linear layer under mse, on a small dataset of random
//   bytes.
// Thread safety: none.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain::test {

class LeastSquares {
 public:
  static constexpr int kFeatures = 5, kClasses = 3, kUnknowns = kFeatures + 1;  // of a class: its weights and bias
  static constexpr std::int64_t kSamples = 96;

  LeastSquares() : shape_{kFeatures} {
    const MemoryDataset samples(kSamples, shape_, kClasses, 1);
    for (std::int64_t id = 0; id < kSamples; ++id) {
      std::array<float, kFeatures> values{};
      std::int32_t label = 0;
      samples.gather(std::array{id}, values.data(), &label);
      std::array<double, kUnknowns> x{};
      std::copy(values.begin(), values.end(), x.begin());
      x[kFeatures] = 1;
      for (std::size_t i = 0; i < kUnknowns; ++i) {
        for (std::size_t k = 0; k < kUnknowns; ++k) moments_[i][k] += x[i] * x[k] / kSamples;
        targets_[static_cast<std::size_t>(label)][i] += x[i] / kSamples;
      }
    }
    for (std::size_t c = 0; c < kClasses; ++c) optimum_[c] = solve(targets_[c]);
  }

  /// Three steps of 32 samples an epoch, in micro-batches of 8. `mode`: lines of the spec.
  static JobSpec job(const std::string& mode, std::int64_t replicas, double epochs, double lr,
                     const std::string& schedule) {
    return read_job_text(
        fmt::format(
            "name: convex\ndataset: {{name: digits}}\nmodel: {{input: [{}], layers: [linear: {}], loss: mse}}\n"
            "train: {{epochs: {}, global_batch_size: 32, micro_batch_size: 8, optimizer: {{name: sgd, lr: {}}}, "
            "lr_schedule: {{name: {}}}}}\ndevices: {{type: cpu, count: {}}}\n{}",
            kFeatures, kClasses, epochs, lr, schedule, replicas, mode),
        "convex.yaml");
  }

  /// How far a run's weights end from the optimum: the Euclidean norm.
  double distance_after(const JobSpec& job, TrainOptions options = {}) const {
    double distance = INFINITY;
    options.save = [&](const WeightsView& view) { distance = distance_of(view); };
    Reporter silent;
    train(job, memory_pair(kSamples, 40, shape_, kClasses), silent, options);
    return distance;
  }

  /// Of the mean loss, whose second derivatives are 2 / kClasses times the moments: gradient descent needs a rate below
  /// 2 / this.
  double largest_curvature() const {
    std::array<double, kUnknowns> v{1, 1, 1, 1, 1, 1}, w{};
    double norm = 0;
    for (int round = 0; round < 200; ++round) {
      norm = 0;
      for (std::size_t i = 0; i < kUnknowns; ++i) {
        w[i] = 0;
        for (std::size_t k = 0; k < kUnknowns; ++k) w[i] += moments_[i][k] * v[k];
        norm += w[i] * w[i];
      }
      norm = std::sqrt(norm);
      for (std::size_t i = 0; i < kUnknowns; ++i) v[i] = w[i] / norm;
    }
    return norm * 2 / kClasses;
  }

  double distance_of(const WeightsView& view) const {
    double squares = 0;
    for (const Parameter& parameter : view.table.all()) {
      const std::vector<float> values = view.table.canonical(parameter, view.flat);
      const std::size_t each = values.size() / kClasses, first = each == 1 ? kFeatures : 0;
      for (std::size_t k = 0; k < values.size(); ++k) {
        const double off = static_cast<double>(values[k]) - optimum_[k / each][first + k % each];
        squares += off * off;
      }
    }
    return std::sqrt(squares);
  }
  double distance_of_zero() const {
    double squares = 0;
    for (const Row& row : optimum_) {
      for (const double value : row) squares += value * value;
    }
    return std::sqrt(squares);
  }

 private:
  using Row = std::array<double, kUnknowns>;

  /// The normal equations, by Gaussian elimination; the moments are positive definite.
  Row solve(Row right) const {
    std::array<Row, kUnknowns> a = moments_;
    for (std::size_t p = 0; p < kUnknowns; ++p) {
      for (std::size_t i = p + 1; i < kUnknowns; ++i) {
        const double factor = a[i][p] / a[p][p];
        for (std::size_t k = p; k < kUnknowns; ++k) a[i][k] -= factor * a[p][k];
        right[i] -= factor * right[p];
      }
    }
    for (std::size_t p = kUnknowns; p-- > 0;) {
      for (std::size_t k = p + 1; k < kUnknowns; ++k) right[p] -= a[p][k] * right[k];
      right[p] /= a[p][p];
    }
    return right;
  }

  const Shape shape_;
  std::array<Row, kUnknowns> moments_{};
  std::array<Row, kClasses> targets_{}, optimum_{};
};

}  // namespace dptrain::test
