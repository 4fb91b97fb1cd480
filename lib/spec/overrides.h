// Purpose: puts the overrides of the command line into the tree of a spec, so that the one binder checks both.
// Thread safety: one reader at a time.
#pragma once

#include "spec/reader.h"
#include "spec/tree.h"

namespace dptrain {

/// `gpus: N` at the top level is short for `devices: {type: cuda, count: N}`; stays where `devices` is given too.
void expand_gpus(Node& root);

/// The argument as the user wrote it.
Source source_of_override(const Override& override_);

/// Sets override_.path to its value; missing blocks are made. `source` is the override's own and outlives the tree.
void apply_override(Node& root, const Override& override_, const Source& source, Diagnostics& diagnostics);

}  // namespace dptrain
