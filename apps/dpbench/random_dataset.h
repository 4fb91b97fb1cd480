// Purpose: samples of random bytes held in memory, for benchmarks that shall not depend on files.
// Thread safety: immutable.
#pragma once

#include <memory>

#include "data/dataset.h"

namespace dptrain {

std::unique_ptr<const Dataset> random_dataset(std::int64_t samples, const Shape& shape, std::int64_t classes);

}  // namespace dptrain
