// Purpose: which place of the one tensor is added to which place of the other, where two tensors are added that do not
//   lie in memory alike: for AddOperation on every device. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"

namespace dptrain {

/// For places of a sample of a the place of b that is added there, and for those of b the place of a; -1: none.
struct AddPlaces {
  std::vector<std::int32_t> of_a, of_b;
};
AddPlaces add_places(const AddConfig& config);

}  // namespace dptrain
