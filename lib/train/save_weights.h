// Purpose: leaves the final weights in the run folder: checkpoints/step-N/model.safetensors, canonical layout, named as in
//   the state dict of an equivalent torch.nn.Sequential.
// Thread safety: one writer a folder. Invariants: the step's folder is there whole or not at all.
#pragma once

#include <filesystem>

#include "train/trainer.h"

namespace dptrain {

/// Errors: failed, with file and reason.
void save_weights(const std::filesystem::path& run_folder, const WeightsView& weights);

}  // namespace dptrain
