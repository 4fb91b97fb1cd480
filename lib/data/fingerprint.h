// Purpose: whether two datasets are the same samples, without comparing them. Thread safety: pure functions.
#pragma once

#include "core/hash.h"
#include "data/dataset.h"

namespace dptrain {

/// Adds what tells a dataset from another: counts, shape and, where samples lie in memory, all of them; of samples that
/// are decoded some, the same ones each time. Errors: as Dataset::gather().
void add_samples(Hash128& hash, const Dataset& data);

}  // namespace dptrain
