// Purpose: DPTRAIN_HD marks a function that a CUDA compiler shall build for host and device, and DPTRAIN_UNROLLED
//   stands in front of a loop of a constant number of turns, of which none is left on a GPU, so that arrays that it
//   goes over lie in registers. This is the only place that asks which compiler it is.
// Thread safety: none needed.
#pragma once

#ifdef __CUDACC__
#define DPTRAIN_HD __host__ __device__
#else
#define DPTRAIN_HD
#endif

#ifdef __CUDA_ARCH__
#define DPTRAIN_UNROLLED _Pragma("unroll")
#else
#define DPTRAIN_UNROLLED
#endif
