// Purpose: a recorded asynchronous run once more: every gradient is computed with the weights that it read then and
//   applied in the version that it was part of, by any number of replicas, to the same bits.
// Thread safety: one replay at a time. Invariants: what is in memory at a time is what was in the air at a time in the
//   run.
#pragma once

#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "spec/job_spec.h"

namespace dptrain {

struct ReplayResult {
  std::string weights_hash;
  std::int64_t first_step = 0, first_version = 0;  ///< where the record begins
  std::int64_t versions = 0;                       ///< of the run, up to the last that is recorded
  std::int64_t gradients = 0, dropped = 0;         ///< of the record
};

/// Replays `file`, in its run folder, as a run of `job`, whose devices say on how many replicas. The first weights are
/// those of `init_from`, where it is not empty, else of the checkpoint at which the record begins, where there is one,
/// else the seed's. Errors: failed where the record is of another job, of other first weights, or incomplete; those of
/// replicas.
ReplayResult replay(const JobSpec& job, const DatasetPair& data, const std::filesystem::path& file,
                    const std::filesystem::path& init_from = {});

}  // namespace dptrain
