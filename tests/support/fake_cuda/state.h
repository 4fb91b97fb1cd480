// Purpose: what the parts of the fake CUDA runtime share: streams as queues, captures, memory, and the scheduler.
// Thread safety: everything here is used under State::mutex, which is recursive because operations that run under it
//   may ask about memory. Invariants: a handle is valid while it is in its set.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "support/fake_cuda/fake_cuda.h"

namespace fake_cuda {

/// One record of an event; those who wait for it hold it.
struct Record {
  bool done = false;
  std::int64_t time = 0;  ///< of the stream's clock, once it is done
};

struct Operation {
  std::function<void()> work;
  std::function<bool()> ready;  ///< empty: at once
};

/// A captured operation and the captured operations that it waits for.
struct Node {
  std::function<void()> work;
  std::vector<std::size_t> after;
  CUevent_st* records = nullptr;  ///< an event that every launch records, for those outside
};
using Nodes = std::vector<Node>;

struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool invalid = false, ended = false;
  Nodes nodes;
};

}  // namespace fake_cuda

struct CUstream_st {
  std::int64_t serial = 0;  ///< order of creation
  int device = 0;
  std::int64_t clock = 0;  ///< nanoseconds, see fake_cuda.h
  std::deque<fake_cuda::Operation> queue;
  std::shared_ptr<fake_cuda::Capture> capture;  ///< that the stream takes part in
  std::set<std::size_t> tips;                   ///< captured operations that the stream's next one comes after
};
struct CUevent_st {
  int device = 0;
  bool is_timed = false;
  std::shared_ptr<fake_cuda::Record> record;    ///< the latest; null: none
  std::shared_ptr<fake_cuda::Capture> capture;  ///< set where the latest record was captured
  std::set<std::size_t> tips;
};
struct CUgraph_st {
  std::shared_ptr<const fake_cuda::Nodes> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const fake_cuda::Nodes> nodes;
};

namespace fake_cuda {

struct Allocation {
  std::size_t bytes = 0;
  int device = -1;  ///< -1: pinned host memory
};

struct State {
  State();  ///< as the environment says: see fake_cuda.h
  std::recursive_mutex mutex;
  std::condition_variable_any changed;
  std::mt19937_64 random{1};
  std::uint64_t slow = 0;          ///< which streams lag at present, see run_one()
  CUstream_st* running = nullptr;  ///< whose operation runs
  Counters counters;

  int devices = 1;
  std::vector<int> hardware;  ///< by device: which of the host's it is; empty: they are numbered alike
  std::size_t memory = std::size_t{1} << 30;
  std::set<std::pair<int, int>> peers;  ///< (device, peer that it may reach)

  std::map<std::uintptr_t, Allocation> allocations;  ///< by first address
  std::map<int, std::unique_ptr<CUstream_st>> default_streams;
  std::int64_t streams_made = 0;
  std::map<CUstream_st*, std::unique_ptr<CUstream_st>> streams;
  std::vector<std::unique_ptr<CUstream_st>> destroyed_streams;  ///< with work left
  std::map<CUevent_st*, std::unique_ptr<CUevent_st>> events;
  std::map<CUgraph_st*, std::unique_ptr<CUgraph_st>> graphs;
  std::map<CUgraphExec_st*, std::unique_ptr<CUgraphExec_st>> executables;
  std::vector<std::weak_ptr<Capture>> captures;
  bool refuses_captures = false;
};

State& state();
using Lock = std::unique_lock<std::recursive_mutex>;
inline Lock lock_state() {
  return Lock(state().mutex);
}

/// Remembers an error for cudaGetLastError and hands it on.
cudaError_t done_with(cudaError_t status);

/// Throws Misuse for a handle that is not alive. Null is the current device's default stream.
CUstream_st& stream_of(cudaStream_t stream);
CUevent_st& event_of(cudaEvent_t event);

/// To the stream's queue, or into its capture.
void add(CUstream_st& stream, std::function<void()> work, std::function<bool()> ready = {});
/// What is reached on the stream whose operation runs.
void reach(Record& record);
/// Time of that stream goes on by one operation.
void tick();
/// Runs the head of a random stream; false where no head can run.
bool run_one();
/// Some operations may run at any time.
void run_some();
/// Runs random operations until `over`. Waits for other threads where nothing can run; Misuse where they do nothing.
void run_until(Lock& lock, const std::function<bool()>& over);
/// Runs everything that is queued on a device.
void drain(Lock& lock, int device);
/// cudaErrorStreamCaptureUnsupported where a capture forbids this thread calls that it cannot see (cudaMalloc, say).
cudaError_t unsafe_call();

/// The allocation that holds the whole range, or null.
const Allocation* allocation_of(const void* pointer, std::size_t bytes);

}  // namespace fake_cuda
