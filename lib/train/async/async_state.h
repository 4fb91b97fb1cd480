// Purpose: an AsyncState to and from JSON. Thread safety: values, pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "train/async/staleness.h"

namespace dptrain {

/// As state.json has it, under "async".
nlohmann::ordered_json to_json_object(const AsyncState& state);
/// Errors: those of the JSON library, where something is missing.
AsyncState async_state_of(const nlohmann::ordered_json& json);

}  // namespace dptrain
