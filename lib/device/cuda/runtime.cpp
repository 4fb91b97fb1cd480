#include "device/cuda/runtime.h"

#include <cstring>

#include "core/error.h"

namespace dptrain::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // forget it: it is reported here, and the next launch shall not report it again
  fail(ExitStatus::failed, "{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

namespace {

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a CUDA stream could not be made");
  return stream;
}

cudaEvent_t make_event(unsigned flags) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, flags), "a CUDA event could not be made");
  return event;
}

void check_allocation(cudaError_t status, std::size_t bytes, const char* kind) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  fail(ExitStatus::failed, "{} bytes of {} memory could not be had: {} ({})", bytes, kind, cudaGetErrorString(status),
       cudaGetErrorName(status));
}

}  // namespace

Stream::Stream() : handle_(make_stream()) {}

void Stream::synchronize() const {
  check(cudaStreamSynchronize(get()), "work on the GPU failed");
}

Event::Event() : handle_(make_event(cudaEventDisableTiming)) {}

void Event::record(cudaStream_t stream) {
  check(cudaEventRecord(get(), stream), "a CUDA event could not be recorded");
}

void Event::record_outside(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "a CUDA stream could not be asked for its state");
  if (status == cudaStreamCaptureStatusNone) return record(stream);
  check(cudaEventRecordWithFlags(get(), stream, cudaEventRecordExternal), "a CUDA event could not be recorded");
}

void Event::make_wait(cudaStream_t stream) const {
  check(cudaStreamWaitEvent(stream, get(), 0), "a CUDA stream could not be made to wait");
}

bool Event::reached() const {
  const cudaError_t status = cudaEventQuery(get());
  if (status == cudaErrorNotReady) {
    cudaGetLastError();  // an answer, but CUDA keeps it as the thread's last error
    return false;
  }
  check(status, "work on the GPU failed");
  return true;
}

void Event::synchronize() const {
  check(cudaEventSynchronize(get()), "work on the GPU failed");
}

TimedEvent::TimedEvent() : handle_(make_event(cudaEventDefault)) {}

void TimedEvent::record(cudaStream_t stream) {
  check(cudaEventRecord(handle_.get(), stream), "a CUDA event could not be recorded");
}

double TimedEvent::seconds_since(const TimedEvent& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, earlier.handle_.get(), handle_.get()),
        "work on the GPU could not be timed");
  return 1e-3 * static_cast<double>(milliseconds);
}

// Thread-local: replicas capture, allocate and copy in threads of their own.
void Graph::begin(cudaStream_t stream) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "a CUDA stream could not be captured");
}

void Graph::abandon(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

Graph Graph::end(cudaStream_t stream) {
  cudaGraph_t captured = nullptr;
  check(cudaStreamEndCapture(stream, &captured), "a step could not be captured as a CUDA graph");
  const Handle<cudaGraph_t, &cudaGraphDestroy> graph(captured);
  cudaGraphExec_t executable = nullptr;
  check(cudaGraphInstantiate(&executable, graph.get(), 0), "a CUDA graph could not be made ready");
  Graph made;
  made.handle_ = Handle<cudaGraphExec_t, &cudaGraphExecDestroy>(executable);
  return made;
}

void Graph::launch(cudaStream_t stream) const {
  check(cudaGraphLaunch(handle_.get(), stream), "a CUDA graph could not be launched");
}

Buffer device_scratch(std::size_t bytes) {
  if (bytes == 0) return {};
  void* memory = nullptr;
  check_allocation(cudaMalloc(&memory, bytes), bytes, "GPU");
  return Buffer::adopt(memory, bytes, [](void* old) { cudaFree(old); });
}

Buffer device_buffer(std::size_t bytes) {
  Buffer buffer = device_scratch(bytes);
  if (bytes == 0) return buffer;
  // The default stream is not waited for by ours, so the zeros must be there before anybody uses them.
  check(cudaMemsetAsync(buffer.data(), 0, bytes, nullptr), "GPU memory could not be cleared");
  check(cudaStreamSynchronize(nullptr), "GPU memory could not be cleared");
  return buffer;
}

void grow(Buffer& buffer, std::int64_t bytes) {
  const auto wanted = static_cast<std::size_t>(bytes);
  if (buffer.size() < wanted) buffer = device_buffer(wanted);
}

Buffer pinned_buffer(std::size_t bytes) {
  if (bytes == 0) return {};
  void* memory = nullptr;
  check_allocation(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable), bytes, "pinned host");
  std::memset(memory, 0, bytes);
  return Buffer::adopt(memory, bytes, [](void* old) { cudaFreeHost(old); });
}

Devices devices() {
  Devices found;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    found.problem = cudaGetErrorString(status == cudaSuccess ? cudaErrorNoDevice : status);
    return found;
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device), "a GPU could not be asked for its properties");
    found.all.push_back({properties.name, properties.totalGlobalMem, properties.major, properties.minor});
  }
  return found;
}

std::size_t free_memory(int device) {
  int current = 0;
  check(cudaGetDevice(&current), "CUDA's current device is unknown");
  use_device(device);
  std::size_t free = 0, total = 0;
  const cudaError_t status = cudaMemGetInfo(&free, &total);
  use_device(current);
  check(status, "a GPU could not be asked for its free memory");
  return free;
}

void use_device(int device) {
  check(cudaSetDevice(device), "a GPU could not be selected");
}

}  // namespace dptrain::cuda
