#include "core/error.h"
#include "kernels/kernels.h"

namespace dptrain {

ElementType compute_type(Precision precision) {
  switch (precision) {
    case Precision::fp32:
    case Precision::tf32:  // a way of multiplying, not of storing
      return ElementType::float32;
    case Precision::bf16:
      return ElementType::bfloat16;
    case Precision::fp16:
      return ElementType::float16;
  }
  broken_invariant(__FILE__, __LINE__, "an unknown precision");
}

}  // namespace dptrain
