// Purpose: the GPUs that this build of dptrain can use on this machine, and why there are none. One of two files
//   answers, accelerators_none.cpp or cuda/accelerators.cpp; CMake decides. Thread safety: any thread. Invariants:
//   asking takes no memory on a GPU and starts no context on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dptrain {

struct AcceleratorInfo {
  int device = 0;    ///< its number, as the runtime counts: CUDA_VISIBLE_DEVICES changes it
  std::string name;  ///< "NVIDIA H100 80GB HBM3"
  int compute_major = 0, compute_minor = 0;
  std::int64_t memory_bytes = 0;
  /// Which piece of hardware it is, in 32 hexadecimal digits: the same in every process that sees it, and in no other
  /// host's.
  std::string id{};
};

struct Accelerators {
  std::vector<AcceleratorInfo> usable;  ///< in the order of their numbers
  /// Why there are none, or none but these: what is missing, as the end of "no GPU can be used: ...". Empty where every
  /// GPU that can be seen is usable.
  std::string missing;
  std::string remedy;  ///< how to go on; empty where `missing` is
};

/// Asks the driver; never throws for what it answers.
Accelerators accelerators();

}  // namespace dptrain
