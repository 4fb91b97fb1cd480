#include "kernels/moments.h"

#include "core/error.h"
#include "kernels/kernels.h"

namespace dptrain {

void merge_moments(std::int64_t channels, const float* a, const float* b, float* both) {
  const float before = a[0], count = before + b[0], share = b[0] / count;
  both[0] = count;
  for (std::int64_t c = 1; c <= channels; ++c) {
    const float apart = b[c] - a[c];
    both[channels + c] = a[channels + c] + (b[channels + c] + apart * apart * (before * share));
    both[c] = a[c] + apart * share;
  }
}

void NormOperation::measure(Slot, const void*, float*) {
  broken_invariant(__FILE__, __LINE__, "this norm knows no statistics but its own");
}
void NormOperation::forward_with(Slot, const void*, const NormParameters&, const float*, void*) {
  broken_invariant(__FILE__, __LINE__, "this norm knows no statistics but its own");
}
void NormOperation::measure_gradient(Slot, const void*, const void*, float*) {
  broken_invariant(__FILE__, __LINE__, "this norm knows no statistics but its own");
}
void NormOperation::backward_with(Slot, const void*, const NormParameters&, const NormSums&, const void*, void*,
                                  const NormGradients&) {
  broken_invariant(__FILE__, __LINE__, "this norm knows no statistics but its own");
}

}  // namespace dptrain
