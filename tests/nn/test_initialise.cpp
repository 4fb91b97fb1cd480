// The distributions of starting values, and that a parameter's values depend on nothing but their key.
#include <doctest/doctest.h>

#include <cmath>

#include "nn/initialise.h"

using namespace dptrain;

namespace {

ParameterDesc weight(Initialiser init) {
  return {.name = "weight", .shape = Shape{200, 50, 2}, .fan_in = 100, .fan_out = 400, .init = init};
}

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};

Moments moments(const std::vector<float>& values) {
  Moments m;
  for (const float v : values) {
    m.mean += double{v} / static_cast<double>(values.size());
    m.deviation += double{v} * double{v} / static_cast<double>(values.size());
    m.largest = std::max(m.largest, std::abs(double{v}));
  }
  m.deviation = std::sqrt(m.deviation - m.mean * m.mean);
  return m;
}

}  // namespace

TEST_CASE("bounds and deviations") {
  struct Expected {
    Initialiser init;
    bool uniform;
    double scale;  // bound or deviation
  };
  for (const Expected& e : {Expected{Initialiser::pytorch_default, true, 0.1},
                            {Initialiser::kaiming_uniform, true, std::sqrt(6.0 / 100)},
                            {Initialiser::kaiming_normal, false, std::sqrt(2.0 / 100)},
                            {Initialiser::xavier_uniform, true, std::sqrt(6.0 / 500)},
                            {Initialiser::xavier_normal, false, std::sqrt(2.0 / 500)}}) {
    const Moments m = moments(initial_values(weight(e.init), 7, 2, 0));
    const double deviation = e.uniform ? e.scale / std::sqrt(3.0) : e.scale;
    CHECK(std::abs(m.mean) < 5 * deviation / std::sqrt(20000.0));
    CHECK(m.deviation == doctest::Approx(deviation).epsilon(0.03));
    if (e.uniform) CHECK(m.largest <= e.scale * 1.0000001);
    CHECK(m.largest > (e.uniform ? 0.999 : 3.0) * e.scale);
  }
  CHECK(moments(initial_values(weight(Initialiser::zeros), 7, 2, 0)).largest == 0);
}

TEST_CASE("biases start at zero, but with PyTorch's default") {
  ParameterDesc bias{
      .name = "bias", .shape = Shape{500}, .fan_in = 100, .fan_out = 400, .init = Initialiser::kaiming_normal};
  CHECK(moments(initial_values(bias, 1, 0, 1)).largest == 0);
  bias.init = Initialiser::pytorch_default;
  CHECK(moments(initial_values(bias, 1, 0, 1)).largest == doctest::Approx(0.1).epsilon(0.01));
}

TEST_CASE("seed, layer and parameter each give other values; the same key gives the same") {
  const ParameterDesc desc = weight(Initialiser::pytorch_default);
  const auto values = initial_values(desc, 1, 2, 0);
  CHECK(values == initial_values(desc, 1, 2, 0));
  CHECK(values != initial_values(desc, 2, 2, 0));
  CHECK(values != initial_values(desc, 1, 3, 0));
  CHECK(values != initial_values(desc, 1, 2, 1));
}
