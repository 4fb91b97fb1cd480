// Purpose: a double of cuDNN's graph interface with its signatures. A plan is carried out by plain loops when its
//   stream comes to it, from the descriptors that were really given, whatever their strides and types. fp32 inputs are
//   rounded to TF32 by engines that say that they use tensor cores, and the workspace is overwritten. Misuse that cuDNN
//   refuses or that would corrupt memory (a missing attribute, a wrong type or count, an unfinalised or destroyed
//   descriptor, a small workspace, a misaligned pointer) throws fake_cuda::Misuse.
// Thread safety: any thread.
#pragma once

namespace fake_cudnn {

/// Which engines there are. Those that tests must not see chosen are always there, first in the lists.
struct Options {
  bool fusion = true;  ///< one that adds a bias and applies ReLU in fp32
  bool preferred =
      true;  ///< one for single operations that the heuristic's mode A knows and that nothing speaks against
  bool fallback = true;  ///< one that only the fallback mode knows
};
void set_options(const Options& options);
/// Handles and descriptors that were not destroyed.
int live_objects();

}  // namespace fake_cudnn
