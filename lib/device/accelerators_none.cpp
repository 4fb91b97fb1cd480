#include "device/accelerators.h"

namespace dptrain {

Accelerators accelerators() {
  return {.usable = {},
          .missing = "this build of dptrain has no GPU support",
          .remedy =
              "build it with CUDA 12.4 or later, cuDNN 9 and NCCL: cmake --preset cuda && cmake --build build-cuda "
              "(docs/gpu.md)"};
}

}  // namespace dptrain
