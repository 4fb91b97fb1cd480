// Purpose: how checkpoints/step-N comes to its name and loses it, one rename at a time: what a kill in between leaves
//   is a checkpoint whole, or nothing that looks like one. Thread safety: one writer a run folder.
// Invariants: .step-N.tmp is being written, .step-N.old was whole and waits for the one that takes its place,
//   .step-N.gone is being removed.
#pragma once

#include <filesystem>

namespace dptrain {

/// Puts `temporary` in the place of `final`, step-N in the same folder. One of that name that is there already stays,
/// or is given its name back, unless the other takes its place. Errors: failed, with path and reason.
void replace_checkpoint(const std::filesystem::path& temporary, const std::filesystem::path& final);

}  // namespace dptrain
