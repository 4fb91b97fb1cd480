// Purpose: what a job says of `train` for one mode alone, in `train` of the mode's own block: `async: {train:
//   {optimizer: {lr: 0.1}}}`.
// Thread safety: one reader at a time.
#pragma once

#include <map>
#include <string>

#include "spec/tree.h"

namespace dptrain {

/// Those of the modes that the job does not run in, by the mode's name; they are checked and have no effect.
using OtherModes = std::map<std::string, Node>;

/// Takes `train` out of the block of every mode. That of the root's own mode goes into the root's `train`: a key that
/// it gives takes the place of the one there, in blocks below as well, but a block that has a `name` takes the place of
/// the whole block; steps take the place of epochs and the other way round. The others are added to `others` in the
/// same way.
void apply_mode_settings(Node& root, OtherModes& others, Diagnostics& diagnostics);

/// Complains about what would be wrong in the job's `train` in one of the other modes; says nothing where it is wrong
/// anyway.
void check_other_modes(const Node& root, const OtherModes& others, Diagnostics& diagnostics);

}  // namespace dptrain
