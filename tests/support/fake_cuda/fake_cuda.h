// Purpose: what tests and the other doubles (cuBLASLt, cuDNN, NCCL) ask of the fake CUDA runtime beyond CUDA's own
//   functions. Streams are queues and nothing runs when it is enqueued. Whenever the host waits for something (a
//   stream, an event, a device, a copy that waits, cudaFree), a random scheduler takes operations from the heads of all
//   queues until that is done, and no further: a wait that is missing shows as wrong values under some seed.
//   cudaEventQuery and cudaStreamQuery run a few operations and then answer.
//   Each stream has a clock of its own, as if its device ran nothing else: an operation takes a microsecond, a stream
//   that waits for an event is not earlier than that, and no other work, however late, takes any of its time. So what
//   timed events measure is the same under every seed.
//   Stricter than most drivers: device and pinned memory starts as 0xFF bytes (NaN); a cudaMemcpy from pageable memory
//   to the device returns when its source has been read, not when the copy has arrived, as CUDA's documentation warns.
//   Programs that tests start have FAKE_CUDA_DEVICES=N in their environment: N devices on this host, of which
//   CUDA_VISIBLE_DEVICES shows some; FAKE_CUDA_NAME is what they are called, FAKE_CUDA_MEMORY how many bytes each has,
//   FAKE_CUDNN_VERSION cuDNN's.
// Thread safety: any thread, one mutex. Operations run under it, so they must not call CUDA, but may call what is
//   below.
// Invariants: misuse throws Misuse where a real runtime would crash, hang or give wrong numbers; where CUDA documents
//   an error that callers handle (out of memory, no device, an unjoined capture), the status is returned.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace fake_cuda {

class Misuse : public std::logic_error {
  using std::logic_error::logic_error;
};
[[noreturn]] void misuse(const std::string& what);

// ---- for tests -----------------------------------------------------------------------------------------------------

/// Seed of the scheduler from here on.
void set_seed(std::uint64_t seed);
/// How many devices there are from here on, 0 included (CUDA then reports cudaErrorNoDevice). Default 1. Call it where
/// no stream, event or memory is alive.
void set_devices(int count);
/// Memory of each device; more than this fails with cudaErrorMemoryAllocation. Default 1 GiB.
void set_memory(std::size_t bytes);
/// Whether every capture ends with cudaErrorStreamCaptureUnsupported, as where a library's work cannot be captured.
void refuse_captures(bool refuse);

struct Counters {
  std::int64_t allocations = 0;   ///< cudaMalloc, cudaMallocHost, cudaHostAlloc
  std::int64_t enqueued = 0;      ///< operations put into queues or graphs, one for a graph's launch
  std::int64_t executed = 0;      ///< operations that ran, each of a graph's
  std::int64_t waits = 0;         ///< times that the host waited: streams, events, devices, copies that wait, cudaFree
  std::int64_t timed_events = 0;  ///< that were made
};
Counters counters();

/// Live objects, for a test that nothing leaks: device and pinned allocations, streams, events, graphs.
int live_objects();

// ---- for the other doubles -----------------------------------------------------------------------------------------

/// Puts `work` at the end of a stream's queue, or into the graph that the stream is being captured into; it may run any
/// number of times then. Null is the default stream of the current device. Misuse where the stream is not the current
/// device's. An exception that `work` throws passes through the call that waited.
void enqueue(cudaStream_t stream, std::function<void()> work);
/// The same for work that can only run once `ready` says so, such as the half of a collective that needs all ranks.
/// `ready` is asked again whenever anything ran or was enqueued. Two such parts of a collective, the first always ready
/// (it hands over what the rank brings), the second waiting for all first ones, are enough. Not in a captured stream.
void enqueue_when(cudaStream_t stream, std::function<bool()> ready, std::function<void()> work);
/// Wakes threads that wait for a `ready` which depends on more than operations and queues (an abort, say).
void wake();

/// For an operation that runs: nanoseconds of its stream's clock. To look there takes some.
std::int64_t read_clock();

/// The current device of this thread, and the device of a stream.
int current_device();
int device_of(cudaStream_t stream);
bool is_capturing(cudaStream_t stream);

/// Whether [pointer, pointer + bytes) lies within one live allocation of device memory; of pinned host memory.
bool is_device_memory(const void* pointer, std::size_t bytes);
bool is_pinned_memory(const void* pointer, std::size_t bytes);
/// Throws Misuse, naming `what`, unless the range is live memory that kernels on `device` can reach: its own, pinned
/// memory, or that of a peer with access enabled. Null with 0 bytes passes.
void require_reachable(const void* pointer, std::size_t bytes, int device, const char* what);
/// The words of a kernel's arguments that look like addresses must be reachable memory.
void require_reachable_words(const void* arguments, std::size_t bytes, int device);
/// As a library does that uses its workspace, in device memory: what its neighbours keep there is lost. The ends alone,
/// for it may be large and is spoilt at each call.
void spoil_workspace(void* workspace, std::size_t bytes);

}  // namespace fake_cuda
