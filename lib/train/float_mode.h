// Purpose: how a replica's thread treats denormal numbers: as zero, which spares slow paths and is part of the promise
//   of the same bits. Thread safety: acts on the calling thread.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace dptrain {

inline void flush_denormals() {
#if defined(__SSE2__)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // flush to zero, denormals are zero
#endif
}

}  // namespace dptrain
