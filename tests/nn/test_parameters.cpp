// How the parameter table tells an optimizer what lies where.
#include <doctest/doctest.h>

#include "nn/parameters.h"

using namespace dptrain;

namespace {

Parameter of(ParameterRole role, std::int64_t elements, double rate = 0.1) {
  Parameter parameter;
  parameter.desc.shape = Shape{elements};
  parameter.desc.stored_floats = elements;
  parameter.desc.role = role;
  parameter.desc.statistic_rate = rate;
  return parameter;
}

}  // namespace

TEST_CASE("no table where everything decays") {
  const ParameterTable table({of(ParameterRole::weight, 100), of(ParameterRole::bias, 10)});
  CHECK(update_ranges(table).empty());
  CHECK(update_ranges(ParameterTable()).empty());
}

TEST_CASE("biases and norms do not decay where weights alone do") {
  const ParameterTable table({of(ParameterRole::weight, 100), of(ParameterRole::norm, 10), of(ParameterRole::bias, 10),
                              of(ParameterRole::weight, 5)});
  CHECK(update_ranges(table, DecayOn::weights) == UpdateRanges{{0, 112}, {112, 32, Treatment::undecayed}, {144, 16}});
}

TEST_CASE("filters that whiten are fixed: statistics that never move") {
  Parameter filters = of(ParameterRole::weight, 20), bias = of(ParameterRole::bias, 10);
  filters.desc.init = bias.desc.init = Initialiser::whiten;
  CHECK(update_ranges(ParameterTable({filters, bias})) == UpdateRanges{{0, 32, Treatment::statistic, 0}, {32, 16}});
}

TEST_CASE("statistics, each kind with its rate, whatever decays") {
  const ParameterTable table({of(ParameterRole::norm, 17), of(ParameterRole::statistic, 17),
                              of(ParameterRole::statistic, 17), of(ParameterRole::statistic, 16, 0.5),
                              of(ParameterRole::norm, 1)});
  CHECK(update_ranges(table) ==
        UpdateRanges{{0, 32}, {32, 64, Treatment::statistic, 0.1f}, {96, 16, Treatment::statistic, 0.5f}, {112, 16}});
}
