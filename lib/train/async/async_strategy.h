// Purpose: `mode: async` as the trainer sees it. See train/update_strategy.h.
// Thread safety: as there.
#pragma once

#include "train/update_strategy.h"

namespace dptrain {

std::unique_ptr<UpdateStrategy> make_async_strategy();

}  // namespace dptrain
