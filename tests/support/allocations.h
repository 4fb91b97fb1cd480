// Purpose: counts what a test program allocates with new: allocations.cpp replaces the operator, so such a test is a
//   program of its own. Thread safety: any thread allocates; the counters are of all of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dptrain::test {

inline constexpr std::size_t kLargeAllocation = 4096;

extern std::atomic<std::int64_t> allocations;        ///< so far, freed or not
extern std::atomic<std::int64_t> allocated_bytes;    ///< that are not freed
extern std::atomic<std::int64_t> large_allocations;  ///< so far, of kLargeAllocation bytes or more

}  // namespace dptrain::test
