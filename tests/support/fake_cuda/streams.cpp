// Streams, and the scheduler that takes operations from their queues.
#include <algorithm>

#include "support/fake_cuda/state.h"

namespace fake_cuda {

State& state() {
  static State all;
  return all;
}

void misuse(const std::string& what) {
  throw Misuse("fake CUDA: " + what);
}

CUstream_st& stream_of(cudaStream_t stream) {
  State& s = state();
  if (stream == nullptr) {
    auto& own = s.default_streams[current_device()];
    if (!own) {
      own = std::make_unique<CUstream_st>();
      own->device = current_device();
    }
    return *own;
  }
  if (!s.streams.contains(stream)) misuse("a stream that was destroyed or never made");
  return *stream;
}

CUevent_st& event_of(cudaEvent_t event) {
  if (!state().events.contains(event)) misuse("an event that was destroyed or never made");
  return *event;
}

void add(CUstream_st& stream, std::function<void()> work, std::function<bool()> ready) {
  ++state().counters.enqueued;
  if (!stream.capture) {
    stream.queue.push_back({std::move(work), std::move(ready)});
    state().changed.notify_all();
    return;
  }
  if (ready) misuse("an operation that waits for other ranks in a captured stream");
  Nodes& nodes = stream.capture->nodes;
  nodes.push_back({std::move(work), {stream.tips.begin(), stream.tips.end()}});
  stream.tips = {nodes.size() - 1};
}

namespace {

bool runnable(const CUstream_st& stream) {
  return !stream.queue.empty() && (!stream.queue.front().ready || stream.queue.front().ready());
}

std::vector<CUstream_st*> all_streams() {
  std::vector<CUstream_st*> all;
  for (const auto& [device, stream] : state().default_streams) all.push_back(stream.get());
  for (const auto& [handle, stream] : state().streams) all.push_back(handle);
  for (const auto& stream : state().destroyed_streams) all.push_back(stream.get());
  // The order must not depend on addresses, or a seed would not say what runs.
  std::stable_sort(all.begin(), all.end(), [](auto* a, auto* b) { return a->serial < b->serial; });
  return all;
}

}  // namespace

void tick() {
  constexpr std::int64_t kOperation = 1000;
  state().running->clock += kOperation;
}

void reach(Record& record) {
  record.done = true;
  record.time = state().running->clock;
}

std::int64_t read_clock() {
  constexpr std::int64_t kLook = 100;
  const Lock lock = lock_state();
  return state().running->clock += kLook;
}

bool run_one() {
  State& s = state();
  std::vector<CUstream_st*> candidates = all_streams();
  std::erase_if(candidates, [](const CUstream_st* stream) { return !runnable(*stream); });
  if (candidates.empty()) return false;
  // For a while some streams run only when no other can: even choices seldom let one fall far behind.
  constexpr std::uint64_t kSlowStreams = 4, kWhile = 200;
  if (s.random() % kWhile == 0) s.slow = s.random() % kSlowStreams;
  const auto is_slow = [&s](const CUstream_st* stream) {
    return static_cast<std::uint64_t>(stream->serial) % kSlowStreams == s.slow;
  };
  if (!std::all_of(candidates.begin(), candidates.end(), is_slow)) std::erase_if(candidates, is_slow);
  CUstream_st& chosen = *candidates[s.random() % candidates.size()];
  const Operation operation = std::move(chosen.queue.front());
  chosen.queue.pop_front();
  ++s.counters.executed;
  s.changed.notify_all();
  s.running = &chosen;
  tick();
  operation.work();
  std::erase_if(s.destroyed_streams, [](const auto& stream) { return stream->queue.empty(); });
  return true;
}

void run_until(Lock& lock, const std::function<bool()>& over) {
  constexpr auto kLongest = std::chrono::seconds(60);   // in which another thread must do something
  constexpr auto kLook = std::chrono::milliseconds(1);  // at what other processes do, of which nobody tells
  ++state().counters.waits;
  for (std::chrono::nanoseconds waited{0}; !over();) {
    if (run_one() || state().changed.wait_for(lock, kLook) == std::cv_status::no_timeout) {
      waited = {};
      continue;
    }
    waited += kLook;
    if (waited >= kLongest)
      misuse("the host waits for what can never run: an event that nobody records, or a rank that never comes");
  }
}

void drain(Lock& lock, int device) {
  run_until(lock, [device] {
    const std::vector<CUstream_st*> all = all_streams();
    return std::all_of(all.begin(), all.end(), [device](const CUstream_st* stream) {
      return stream->device != device || stream->queue.empty();
    });
  });
}

void run_some() {
  for (auto left = state().random() % 4; left > 0 && run_one(); --left) {
  }
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  enqueue_when(stream, {}, std::move(work));
}

void enqueue_when(cudaStream_t stream, std::function<bool()> ready, std::function<void()> work) {
  const Lock lock = lock_state();
  CUstream_st& target = stream_of(stream);
  if (target.device != current_device()) misuse("work for a stream of another device than the thread's current one");
  add(target, std::move(work), std::move(ready));
}

void wake() {
  const Lock lock = lock_state();
  state().changed.notify_all();
}

int device_of(cudaStream_t stream) {
  const Lock lock = lock_state();
  return stream_of(stream).device;
}

bool is_capturing(cudaStream_t stream) {
  const Lock lock = lock_state();
  return stream_of(stream).capture != nullptr;
}

}  // namespace fake_cuda

using namespace fake_cuda;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* pStream, unsigned int flags) {
  const Lock lock = lock_state();
  if (flags != cudaStreamNonBlocking)
    misuse("only non-blocking streams: others wait for the default stream by themselves");
  if (state().devices == 0) return done_with(cudaErrorNoDevice);
  auto stream = std::make_unique<CUstream_st>();
  stream->device = current_device();
  stream->serial = ++state().streams_made;
  *pStream = stream.get();
  state().streams.emplace(*pStream, std::move(stream));
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock = lock_state();
  if (stream == nullptr) misuse("the default stream cannot be destroyed");
  if (stream_of(stream).capture) misuse("a stream was destroyed while it was captured");
  const auto found = state().streams.find(stream);
  if (!stream->queue.empty()) state().destroyed_streams.push_back(std::move(found->second));
  state().streams.erase(found);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Lock lock = lock_state();
  CUstream_st& target = stream_of(stream);
  if (target.capture) {
    target.capture->invalid = true;
    return done_with(cudaErrorStreamCaptureUnsupported);
  }
  // What is enqueued meanwhile, by other threads, is not waited for.
  const auto reached = std::make_shared<Record>();
  add(target, [reached] { reached->done = true; });
  run_until(lock, [&] { return reached->done; });
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock = lock_state();
  CUstream_st& target = stream_of(stream);
  if (target.capture) {
    target.capture->invalid = true;
    return done_with(cudaErrorStreamCaptureUnsupported);
  }
  run_some();
  return done_with(target.queue.empty() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* userData) {
  const Lock lock = lock_state();
  add(stream_of(stream), [fn, userData] { fn(userData); });
  return cudaSuccess;
}
