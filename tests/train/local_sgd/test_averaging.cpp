// The mean of workers' weights.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "train/local_sgd/averaging.h"

namespace dptrain {

namespace {

/// Any finite float below the size at which sums of so many could overflow a double's 53 bits.
float any_float() {
  return static_cast<float>(*rc::gen::inRange(-1000000, 1000000)) / 65536.0f;
}

std::vector<const float*> pointers(const std::vector<std::vector<float>>& parts) {
  std::vector<const float*> out;
  for (const auto& part : parts) out.push_back(part.data());
  return out;
}

}  // namespace

TEST_CASE("the weighted mean is the exact one, rounded") {
  CHECK(rc::check([] {
    const auto workers = *rc::gen::inRange<std::size_t>(1, 9);
    const auto count = *rc::gen::inRange<std::size_t>(1, 600);
    std::vector<std::vector<float>> parts(workers, std::vector<float>(count));
    std::vector<std::int64_t> weights(workers);
    for (std::size_t k = 0; k < workers; ++k) weights[k] = *rc::gen::inRange<std::int64_t>(k == 0 ? 1 : 0, 1000);
    const float base = any_float();
    for (std::size_t k = 0; k < workers; ++k) {
      for (std::size_t i = 0; i < count; ++i)
        parts[k][i] = base + static_cast<float>((k * 7919 + i * 104729) % 1000) / 256.0f;
    }
    std::vector<float> mean(count);
    weighted_mean(pointers(parts), weights, static_cast<std::int64_t>(count), mean.data());
    long double all = 0;
    for (const std::int64_t weight : weights) all += static_cast<long double>(weight);
    for (std::size_t i = 0; i < count; ++i) {
      long double sum = 0;
      for (std::size_t k = 0; k < workers; ++k)
        sum += static_cast<long double>(weights[k]) * static_cast<long double>(parts[k][i]);
      const auto exact = static_cast<double>(sum / all);
      RC_ASSERT(std::abs(static_cast<double>(mean[i]) - exact) <= 6.0e-8 * std::abs(exact) + 1e-12);
    }
  }));
}

TEST_CASE("equal workers are their own mean, to the bit, whatever their weights; and so is one worker") {
  CHECK(rc::check([] {
    const auto workers = *rc::gen::inRange<std::size_t>(1, 9);
    const std::vector<float> values{any_float(), any_float(), 1e-30f, -3e30f, 0.1f};
    const std::vector<std::vector<float>> parts(workers, values);
    std::vector<std::int64_t> weights(workers);
    for (std::size_t k = 0; k < workers; ++k) weights[k] = *rc::gen::inRange<std::int64_t>(k == 0 ? 1 : 0, 100000);
    std::vector<float> mean(values.size());
    weighted_mean(pointers(parts), weights, static_cast<std::int64_t>(values.size()), mean.data());
    for (std::size_t i = 0; i < values.size(); ++i)
      RC_ASSERT(std::bit_cast<std::uint32_t>(mean[i]) == std::bit_cast<std::uint32_t>(values[i]));
  }));
}

TEST_CASE("an element's mean does not depend on what else is averaged in the same call; weight 0 is not read") {
  const std::int64_t count = 1000;
  std::vector<std::vector<float>> parts(3, std::vector<float>(count));
  for (std::size_t i = 0; i < parts[0].size(); ++i) {
    parts[0][i] = static_cast<float>(i) * 0.1f;
    parts[1][i] = 1.0f / static_cast<float>(i + 1);
    parts[2][i] = std::nanf("");
  }
  const std::vector<std::int64_t> weights{3, 5, 0};
  std::vector<float> whole(count), pieces(count);
  weighted_mean(pointers(parts), weights, count, whole.data());
  for (std::int64_t first = 0, length = 1; first < count; first += length, length = length * 2 + 1) {
    length = std::min(length, count - first);
    std::vector<const float*> here = pointers(parts);
    for (const float*& part : here) part += first;
    weighted_mean(here, weights, length, pieces.data() + first);
  }
  CHECK(whole == pieces);
  CHECK(std::isfinite(whole[7]));
}

}  // namespace dptrain
