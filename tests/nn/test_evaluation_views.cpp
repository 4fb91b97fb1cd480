// Evaluations of several views: what the loss is of, against the same model on images that are moved and mirrored
// beforehand.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nn/evaluation_views.h"
#include "nn/model.h"
#include "spec/reader.h"
#include "support/one_thread.h"

using namespace dptrain;

namespace {

constexpr std::int64_t kBatch = 5, kHeight = 6, kWidth = 7, kClasses = 4, kImage = 2 * kHeight * kWidth;

ModelSpec spec() {
  return read_job_text(
             "dataset: {name: none}\nmodel: {input: [2, 6, 7], layers: [{conv2d: {out_channels: 3, kernel_size: 3}}, "
             "batch_norm, relu, flatten, {linear: 4}]}\n"
             "train: {steps: 1, global_batch_size: 5, optimizer: {name: sgd, lr: 0.1}}\n",
             "views.yaml")
      .model;
}

std::vector<float> images() {
  std::vector<float> x(static_cast<std::size_t>(kBatch * kImage));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 1009));
  return x;
}

std::vector<float> mirrored(std::vector<float> x) {
  for (auto row = x.begin(); row != x.end(); row += kWidth) std::reverse(row, row + kWidth);
  return x;
}

/// Everything a pixel up and left, or down and right; what comes in is the row or column beside the edge.
std::vector<float> moved(const std::vector<float>& x, std::int64_t by) {
  std::vector<float> to;
  const auto inside = [](std::int64_t k, std::int64_t count) { return k < 0 ? 1 : k == count ? count - 2 : k; };
  for (std::int64_t plane = 0; plane < kBatch * 2; ++plane) {
    for (std::int64_t row = 0; row < kHeight; ++row) {
      for (std::int64_t column = 0; column < kWidth; ++column)
        to.push_back(x[static_cast<std::size_t>((plane * kHeight + inside(row + by, kHeight)) * kWidth +
                                                inside(column + by, kWidth))]);
    }
  }
  return to;
}

struct Evaluated {
  explicit Evaluated(std::int64_t views) : kernels(make_cpu_kernels()), model(spec(), *kernels, kBatch) {
    model.prepare(std::vector{kBatch}, views);
    weights = Buffer::host_floats(model.parameters().floats());
    model.parameters().initialise(5, weights.floats());
    model.bind(weights.floats());
  }
  LossSum loss(const std::vector<float>& x) {
    std::vector<std::int64_t> ids(kBatch);
    std::iota(ids.begin(), ids.end(), 0);
    const std::vector<std::int32_t> labels{0, 1, 2, 3, 1};
    return model.evaluate(0, ids, x.data(), labels.data());
  }
  std::vector<float> outputs(const std::vector<float>& x) {
    loss(x);
    return {model.outputs(), model.outputs() + kBatch * kClasses};
  }

  std::unique_ptr<Kernels> kernels;
  Model model;
  Buffer weights;
};

}  // namespace

TEST_CASE("an evaluation is of the mean over its views") {
  const std::vector<float> x = images();
  Evaluated one(1);
  const std::vector<std::vector<float>> seen = {one.outputs(x),
                                                one.outputs(mirrored(x)),
                                                one.outputs(moved(x, -1)),
                                                one.outputs(mirrored(moved(x, -1))),
                                                one.outputs(moved(x, 1)),
                                                one.outputs(mirrored(moved(x, 1)))};
  const std::vector<std::int32_t> labels{0, 1, 2, 3, 1};
  for (const std::size_t views : {1, 2, 6}) {
    double loss = 0, correct = 0;
    for (std::size_t s = 0; s < kBatch; ++s) {
      std::vector<double> mean(kClasses);
      for (std::size_t v = 0; v < views; ++v) {
        const double weight = views == 1 ? 1 : views == 2 ? 0.5 : v < 2 ? 0.25 : 0.125;
        for (std::size_t c = 0; c < kClasses; ++c) mean[c] += weight * static_cast<double>(seen[v][s * kClasses + c]);
      }
      double total = 0;
      for (const double value : mean) total += std::exp(value);
      const auto label = static_cast<std::size_t>(labels[s]);
      loss += std::log(total) - mean[label];
      correct += mean[label] == *std::max_element(mean.begin(), mean.end()) ? 1 : 0;
    }
    const LossSum sum = Evaluated(static_cast<std::int64_t>(views)).loss(x);
    CHECK(sum.loss == doctest::Approx(loss).epsilon(1e-5));
    CHECK(static_cast<double>(sum.correct) == correct);
  }
}

TEST_CASE("one view takes no memory, more of them what they see and say") {
  const auto bytes = [](std::int64_t views) { return Evaluated(views).model.copy_bytes(); };
  CHECK(bytes(2) - bytes(1) == kBatch * (kImage + kClasses) * static_cast<std::int64_t>(sizeof(float)));
  CHECK(bytes(6) == bytes(2));
}
