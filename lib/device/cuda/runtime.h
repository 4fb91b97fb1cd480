// Purpose: CUDA's runtime as the project uses it: status codes as errors, owned streams, events, graphs and memory, and
//   which GPUs there are. The header is kept free of fmt, which does not pass through nvcc.
// Thread safety: as CUDA's: an object may be used by one thread at a time, anything else by any thread. Streams, events
//   and memory belong to the device that was current when they were made.
// Invariants: objects are move-only; a moved-from one is empty. Nothing here waits except what says so.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "device/buffer.h"

namespace dptrain::cuda {

/// Throws Error(failed) with `what` and CUDA's reason unless `status` is a success.
void check(cudaError_t status, const char* what);

/// What owns a handle of CUDA's, and gives it back.
template <class Value, cudaError_t (*destroy)(Value)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(Value value) : value_(value) {}
  Handle(Handle&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Handle() {
    if (value_ != nullptr) destroy(value_);  // nobody can do anything about an error here
  }
  Value get() const { return value_; }

 private:
  Value value_ = nullptr;
};

/// A queue of the current device that does not wait for the default stream. Errors: Error(failed).
class Stream {
 public:
  Stream();
  cudaStream_t get() const { return handle_.get(); }
  void synchronize() const;  ///< waits for all that was enqueued

 private:
  Handle<cudaStream_t, &cudaStreamDestroy> handle_;
};

/// A point in a stream that others can wait for. Before the first record() it counts as reached. Errors: Error(failed).
class Event {
 public:
  Event();
  cudaEvent_t get() const { return handle_.get(); }
  void record(cudaStream_t stream);
  /// The same where `stream` may be captured: every launch of the graph then records the event for streams outside of
  /// it.
  void record_outside(cudaStream_t stream);
  /// What is enqueued on `stream` from here on runs after the latest record(); the host does not wait.
  void make_wait(cudaStream_t stream) const;
  bool reached() const;
  void synchronize() const;  ///< waits

 private:
  Handle<cudaEvent_t, &cudaEventDestroy> handle_;
};

/// A point in a stream at a time that the device takes down. Nobody waits for it: that is what an Event behind it is
/// for. Errors: Error(failed).
class TimedEvent {
 public:
  TimedEvent();
  void record(cudaStream_t stream);
  /// Of the latest records of both, on one device; both have been reached.
  double seconds_since(const TimedEvent& earlier) const;

 private:
  Handle<cudaEvent_t, &cudaEventDestroy> handle_;
};

/// Work that was captured from streams once and is launched as a whole many times. Errors: Error(failed).
class Graph {
 public:
  Graph() = default;
  /// What `enqueue` puts on `stream`, and on other streams that wait for events of it and are waited for in the end.
  /// None of it runs. Other threads may use CUDA meanwhile as they like; `enqueue` must not allocate or wait, so the
  /// same work should have run once before: libraries load and allocate at a first call.
  template <class Enqueue>
  static Graph capture(cudaStream_t stream, Enqueue&& enqueue) {
    begin(stream);
    try {
      enqueue();
    } catch (...) {
      abandon(stream);
      throw;
    }
    return end(stream);
  }
  explicit operator bool() const { return handle_.get() != nullptr; }
  void launch(cudaStream_t stream) const;

 private:
  static void begin(cudaStream_t stream);
  static void abandon(cudaStream_t stream);
  static Graph end(cudaStream_t stream);
  Handle<cudaGraphExec_t, &cudaGraphExecDestroy> handle_;
};

/// Zeroed memory of the current device, aligned to 256 bytes. Waits. Errors: Error(failed) where memory runs out.
Buffer device_buffer(std::size_t bytes);
/// The same, not zeroed: for what is written before it is read.
Buffer device_scratch(std::size_t bytes);
/// `buffer` has at least so many from now on; where it has to be another one, what was in it is lost.
void grow(Buffer& buffer, std::int64_t bytes);
/// Zeroed host memory that every device copies from and to without the host's help. Waits. Errors: as above.
Buffer pinned_buffer(std::size_t bytes);

struct DeviceInfo {
  std::string name;
  std::size_t memory = 0;    ///< bytes
  int major = 0, minor = 0;  ///< compute capability
};
struct Devices {
  std::vector<DeviceInfo> all;  ///< by CUDA's number
  std::string problem;          ///< why there are none, in CUDA's words; empty where there are some
};
/// The GPUs that this process may use (CUDA_VISIBLE_DEVICES says which). No driver or no GPU is no error.
Devices devices();
/// Bytes that are free on a device now; loads the driver's state for it, which takes a while and some memory.
std::size_t free_memory(int device);
/// Makes a device this thread's current one. Errors: Error(failed).
void use_device(int device);

}  // namespace dptrain::cuda
