// The losses of tests/golden against PyTorch.
#include <doctest/doctest.h>

#include <limits>

#include "kernels/kernels.h"
#include "support/compare.h"
#include "support/golden.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

struct Result {
  LossSum sum;
  std::vector<float> gradient;
};

Result compute(LossKind kind, std::span<const float> x, std::span<const std::int32_t> labels, float smoothing = 0) {
  const auto kernels = make_cpu_kernels();
  const auto samples = static_cast<std::int64_t>(labels.size()),
             classes = static_cast<std::int64_t>(x.size()) / samples;
  Result result{{}, std::vector<float>(x.size(), std::numeric_limits<float>::quiet_NaN())};
  const auto loss = [&](float* gradient) {
    LossSum sum;
    if (kind == LossKind::cross_entropy)
      kernels->cross_entropy(x.data(), labels.data(), samples, classes, smoothing, gradient, &sum);
    else
      kernels->mean_squared_error(x.data(), labels.data(), samples, classes, gradient, &sum);
    return sum;
  };
  result.sum = loss(result.gradient.data());
  const LossSum alone = loss(nullptr);
  CHECK(alone.loss == doctest::Approx(result.sum.loss).epsilon(1e-6));
  CHECK(alone.correct == result.sum.correct);
  return result;
}

}  // namespace

TEST_CASE("losses agree with PyTorch") {
  int compared = 0;
  for (const auto& path : golden_files("losses")) {
    CAPTURE(path.filename().string());
    const SafetensorsFile golden = read_safetensors(path);
    const auto x = golden.floats("x"), losses = golden.floats("losses");
    const std::size_t samples = losses.size(), classes = x.size() / samples;
    const bool cross_entropy = golden.contains("labels");
    std::vector<float> outputs(x.begin(), x.end());
    std::vector<std::int32_t> labels(samples, 0);
    for (std::size_t s = 0; s < samples; ++s) {
      if (cross_entropy) {
        labels[s] = static_cast<std::int32_t>(golden.values<std::int64_t>("labels")[s]);
        continue;
      }
      // The file's targets are any numbers, ours are one-hot vectors: the distance to one is moved to the other.
      for (std::size_t c = 0; c < classes; ++c) {
        const std::size_t i = s * classes + c;
        outputs[i] = static_cast<float>(double{x[i]} - double{golden.floats("target")[i]} + (c == 0 ? 1.0 : 0.0));
      }
    }
    const LossKind kind = cross_entropy ? LossKind::cross_entropy : LossKind::mse;
    const float smoothing =
        golden.metadata.contains("label_smoothing") ? std::stof(golden.metadata.at("label_smoothing")) : 0.0f;
    const Result all = compute(kind, outputs, labels, smoothing);
    CHECK(all.sum.loss == doctest::Approx(double{golden.floats("loss")[0]}).epsilon(1e-5));
    CHECK(difference(all.gradient, golden.floats("dx")) < 1e-5);
    std::int64_t correct = 0;
    for (std::size_t s = 0; s < samples; ++s) {
      const Result one =
          compute(kind, std::span(outputs).subspan(s * classes, classes), std::span(labels).subspan(s, 1), smoothing);
      CHECK(std::abs(one.sum.loss - double{losses[s]}) <= 1e-5 * std::max(1.0, std::abs(double{losses[s]})));
      CHECK(std::equal(one.gradient.begin(), one.gradient.end(),
                       all.gradient.begin() + static_cast<std::ptrdiff_t>(s * classes)));
      correct += one.sum.correct;
    }
    CHECK(correct == all.sum.correct);
    ++compared;
  }
  CHECK(compared == 9);
}

TEST_CASE("a sample is correct where its largest output is the label's") {
  const float outputs[] = {0, 1, 2, /**/ 3, 1, 2, /**/ -1, -3, -2};
  for (const LossKind kind : {LossKind::cross_entropy, LossKind::mse}) {
    CHECK(compute(kind, outputs, std::vector<std::int32_t>{2, 0, 0}).sum.correct == 3);
    CHECK(compute(kind, outputs, std::vector<std::int32_t>{2, 1, 1}).sum.correct == 1);
  }
}

TEST_CASE("what is not finite in the outputs shows in the loss") {
  const auto kernels = make_cpu_kernels();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (std::size_t place = 0; place < 6; ++place) {
      for (std::int32_t label = 0; label < 3; ++label) {
        std::vector<float> x(6, 0.5f), gradient(6);
        x[place] = bad;
        const std::int32_t labels[] = {label, label};
        LossSum sum;
        kernels->cross_entropy(x.data(), labels, 2, 3, 0, nullptr, &sum);
        CHECK_FALSE(std::isfinite(sum.loss));
        kernels->cross_entropy(x.data(), labels, 2, 3, 0, gradient.data(), &sum);
        CHECK_FALSE(std::isfinite(sum.loss));
        kernels->mean_squared_error(x.data(), labels, 2, 3, gradient.data(), &sum);
        CHECK_FALSE(std::isfinite(sum.loss));
      }
    }
  }
}
