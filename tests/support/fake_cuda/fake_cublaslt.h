// Purpose: a double of cuBLASLt with its signatures. A product is computed by plain loops when its stream comes to it,
//   from the descriptors that were really given, of fp32 or 16 bits; inputs are rounded to TF32 where that was allowed.
//   The workspace is overwritten, as an algorithm may do. Misuse that cuBLASLt refuses or that would corrupt memory
//   throws fake_cuda::Misuse.
// Thread safety: any thread.
#pragma once

namespace fake_cublaslt {

/// Whether algorithms are known for products with a bias or an activation; they are by default.
void set_epilogues(bool known);
/// Handles and descriptors that were not destroyed.
int live_objects();

}  // namespace fake_cublaslt
