// Including this gives the test's main thread one core, as a replica has by default; timing and layouts are then a
// replica's.
#pragma once

#include <omp.h>

namespace dptrain::testing {

inline const bool kOneThread = (omp_set_num_threads(1), true);

}  // namespace dptrain::testing
