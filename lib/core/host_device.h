// Purpose: DPTRAIN_HD marks a function that a CUDA compiler shall build for host and device; this is the only place
//   that asks which compiler it is.
// Thread safety: none needed.
#pragma once

#ifdef __CUDACC__
#define DPTRAIN_HD __host__ __device__
#else
#define DPTRAIN_HD
#endif
