#include "train/async/async_state.h"

#include <nlohmann/json.hpp>

namespace dptrain {

nlohmann::ordered_json to_json_object(const AsyncState& state) {
  return {{"version", state.version},
          {"gradients", state.staleness.gradients},
          {"dropped", state.staleness.dropped},
          {"skipped", state.staleness.skipped},
          {"staleness_max", state.staleness.max},
          {"staleness_sum", state.staleness.sum},
          {"staleness_histogram", state.staleness.histogram},
          {"fallback_step", state.fallback_step},
          {"fallback_version", state.fallback_version},
          {"recorded_from", state.recorded_from}};
}

AsyncState async_state_of(const nlohmann::ordered_json& json) {
  return {.version = json.at("version"),
          .staleness = {.gradients = json.at("gradients"),
                        .dropped = json.at("dropped"),
                        .skipped = json.at("skipped"),
                        .max = json.at("staleness_max"),
                        .sum = json.at("staleness_sum"),
                        .histogram = json.at("staleness_histogram").get<std::vector<std::int64_t>>()},
          .fallback_step = json.at("fallback_step"),
          .fallback_version = json.at("fallback_version"),
          .recorded_from = json.value("recorded_from", std::int64_t{-1})};
}

}  // namespace dptrain
