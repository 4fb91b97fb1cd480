// Purpose: what a thread does that waits for another for so short a time that sleeping would take longer.
// Thread safety: any thread.
#pragma once

#include <thread>

namespace dptrain {

/// One turn of such a wait.
inline void spin() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace dptrain
