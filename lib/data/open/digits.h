// Purpose: opens the generated dataset. Thread safety and errors: as open.h.
#pragma once

#include "data/dataset.h"
#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// As many digits as the job asks for, or else as many as the descriptor says.
DatasetPair open_digits(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const DataOptions& options);

}  // namespace dptrain
