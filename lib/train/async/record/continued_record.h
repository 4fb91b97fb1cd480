// Purpose: whether a run that goes on from a checkpoint can go on with its record. Thread safety: pure, but for reading
//   the file.
#pragma once

#include <optional>
#include <string>

#include "train/async/record/record.h"
#include "train/async/staleness.h"
#include "train/run.h"

namespace dptrain {

struct ContinuedRecord {
  std::optional<RecordHeader> header{};  ///< of the record that goes on; empty: a new one begins at the checkpoint
  std::string reason{};  ///< why a record that is there cannot go on, with file and line where it is damaged
};

/// `before` is what the checkpoint says, empty of a run that begins; `floats` are the model's.
ContinuedRecord continued_record(const Run& run, const AsyncState& before, std::int64_t floats);

}  // namespace dptrain
