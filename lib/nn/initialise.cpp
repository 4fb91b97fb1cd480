#include "nn/initialise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/philox.h"

namespace dptrain {

namespace {

enum class Distribution { zero, uniform, normal };
struct Start {
  Distribution distribution = Distribution::zero;
  double scale = 0;  ///< half width of the uniform, deviation of the normal
};

Start start_of(const ParameterDesc& desc) {
  const double in = static_cast<double>(desc.fan_in), out = static_cast<double>(desc.fan_out);
  if (desc.init == Initialiser::pytorch_default) return {Distribution::uniform, 1.0 / std::sqrt(in)};
  if (desc.name == "bias") return {};  // the named initialisers are for weights; biases start at zero with them
  switch (desc.init) {
    case Initialiser::kaiming_uniform:
      return {Distribution::uniform, std::sqrt(6.0 / in)};
    case Initialiser::kaiming_normal:
      return {Distribution::normal, std::sqrt(2.0 / in)};
    case Initialiser::xavier_uniform:
      return {Distribution::uniform, std::sqrt(6.0 / (in + out))};
    case Initialiser::xavier_normal:
      return {Distribution::normal, std::sqrt(2.0 / (in + out))};
    case Initialiser::whiten:  // what the images do not decide
      return {Distribution::uniform, 1.0 / std::sqrt(in)};
    case Initialiser::zeros:
    case Initialiser::pytorch_default:
      break;
  }
  return {};
}

}  // namespace

std::vector<float> initial_values(const ParameterDesc& desc, std::uint64_t seed, std::uint32_t layer,
                                  std::uint32_t index) {
  std::vector<float> values(static_cast<std::size_t>(desc.shape.elements()));
  if (desc.start) {
    std::fill(values.begin(), values.end(), *desc.start);
    return values;
  }
  const RandomStream stream(seed, RandomPurpose::initialise, layer);
  const Start start = start_of(desc);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (start.distribution == Distribution::uniform) {
      values[i] = static_cast<float>(start.scale * (2.0 * static_cast<double>(stream.uniform(index, i)) - 1.0));
    } else if (start.distribution == Distribution::normal) {
      // Box and Muller 1958; 1 - u lies in (0, 1], so the logarithm is finite.
      const double u = 1.0 - static_cast<double>(stream.uniform(index, 2 * i)), v = stream.uniform(index, 2 * i + 1);
      values[i] =
          static_cast<float>(start.scale * std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
    }
  }
  return values;
}

}  // namespace dptrain
