// Purpose: samples that lie in memory as bytes, as a dataset: as many as the job takes, augmented where it says so.
// Thread safety: pure functions. Errors (usage): as choices.h.
#pragma once

#include "data/byte_block.h"
#include "data/dataset.h"
#include "data/measure.h"
#include "spec/job_spec.h"

namespace dptrain {

/// A split as it was read or made; the blocks hold `samples` at least.
struct SplitBytes {
  ByteBlock pixels, labels;
  std::int64_t samples = 0;
};

/// Without a name and a place yet.
DatasetPair pair_in_memory(const DatasetSpec& spec, SplitBytes train, SplitBytes test, const Shape& shape,
                           std::int64_t classes, const Normalisation& normalisation);

}  // namespace dptrain
