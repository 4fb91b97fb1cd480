// Devices, errors, and what tests set.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <sstream>

#include "support/fake_cuda/state.h"

namespace fake_cuda {

namespace {

thread_local int thread_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorPeerAccessAlreadyEnabled, "cudaErrorPeerAccessAlreadyEnabled", "peer access is already enabled"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const ErrorText& text_of(cudaError_t error) {
  static constexpr ErrorText kUnknown{cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
  for (const ErrorText& known : kErrors) {
    if (known.error == error) return known;
  }
  return kUnknown;
}

/// Which of the host's a device is.
int hardware_of(int device) {
  const State& s = state();
  return s.hardware.empty() ? device : s.hardware[static_cast<std::size_t>(device)];
}

cudaUUID_t uuid_of(int device) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  const std::uint64_t words[] = {std::hash<std::string>()(host), static_cast<std::uint64_t>(hardware_of(device))};
  cudaUUID_t uuid;
  static_assert(sizeof uuid == sizeof words);
  std::memcpy(&uuid, words, sizeof uuid);
  return uuid;
}

bool is_device(int device) {
  return device >= 0 && device < state().devices;
}

}  // namespace

State::State() {
  const char* there = std::getenv("FAKE_CUDA_DEVICES");
  if (there == nullptr) return;
  if (const char* bytes = std::getenv("FAKE_CUDA_MEMORY")) memory = std::strtoull(bytes, nullptr, 10);
  devices = std::atoi(there);
  const char* shown = std::getenv("CUDA_VISIBLE_DEVICES");
  if (shown == nullptr) return;
  std::istringstream list(shown);
  for (std::string number; std::getline(list, number, ',');) {
    const int device = std::atoi(number.c_str());
    if (device < 0 || device >= devices) break;  // CUDA shows what comes before it
    hardware.push_back(device);
  }
  devices = static_cast<int>(hardware.size());
}

cudaError_t done_with(cudaError_t status) {
  if (status != cudaSuccess) last_error = status;
  return status;
}

int current_device() {
  return thread_device;
}

void set_seed(std::uint64_t seed) {
  const Lock lock = lock_state();
  state().random.seed(seed);
  state().slow = state().random() % 4;
}

void set_devices(int count) {
  const Lock lock = lock_state();
  if (live_objects() > 0) misuse("set_devices() while streams, events or memory are alive");
  state().devices = count;
  state().hardware.clear();
  state().peers.clear();
  state().default_streams.clear();
  thread_device = 0;
}

void set_memory(std::size_t bytes) {
  const Lock lock = lock_state();
  state().memory = bytes;
}

Counters counters() {
  const Lock lock = lock_state();
  return state().counters;
}

int live_objects() {
  const Lock lock = lock_state();
  const State& s = state();
  return static_cast<int>(s.allocations.size() + s.streams.size() + s.events.size() + s.graphs.size() +
                          s.executables.size());
}

}  // namespace fake_cuda

using namespace fake_cuda;

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock = lock_state();
  *count = state().devices;
  return done_with(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  const Lock lock = lock_state();
  if (!is_device(device)) return done_with(cudaErrorInvalidDevice);
  thread_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = thread_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  const Lock lock = lock_state();
  if (!is_device(device)) return done_with(cudaErrorInvalidDevice);
  *prop = {};
  const char* name = std::getenv("FAKE_CUDA_NAME");
  std::snprintf(prop->name, sizeof prop->name, "%s", name == nullptr ? "Fake GPU" : name);
  prop->uuid = uuid_of(device);
  prop->totalGlobalMem = state().memory;
  prop->major = 9;
  prop->minor = 0;
  prop->multiProcessorCount = 4;
  prop->pciBusID = hardware_of(device) + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attr, int device) {
  const Lock lock = lock_state();
  if (!is_device(device)) return done_with(cudaErrorInvalidDevice);
  if (attr == cudaDevAttrMultiProcessorCount)
    *value = 4;
  else if (attr == cudaDevAttrComputeMode)
    *value = cudaComputeModeDefault;
  else if (attr == cudaDevAttrComputeCapabilityMajor)
    *value = 9;
  else if (attr == cudaDevAttrComputeCapabilityMinor)
    *value = 0;
  else
    return done_with(cudaErrorInvalidValue);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* pciBusId, int len, int device) {
  const Lock lock = lock_state();
  if (!is_device(device)) return done_with(cudaErrorInvalidDevice);
  if (len < 13) return done_with(cudaErrorInvalidValue);
  std::snprintf(pciBusId, static_cast<std::size_t>(len), "0000:%02x:00.0",
                static_cast<unsigned>(hardware_of(device) + 1) & 0xffU);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Lock lock = lock_state();
  if (const cudaError_t unsafe = unsafe_call(); unsafe != cudaSuccess) return done_with(unsafe);
  drain(lock, current_device());
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* canAccessPeer, int device, int peerDevice) {
  const Lock lock = lock_state();
  if (!is_device(device) || !is_device(peerDevice)) return done_with(cudaErrorInvalidDevice);
  *canAccessPeer = device != peerDevice ? 1 : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peerDevice, unsigned int flags) {
  const Lock lock = lock_state();
  if (flags != 0) return done_with(cudaErrorInvalidValue);
  if (!is_device(peerDevice) || peerDevice == current_device()) return done_with(cudaErrorInvalidDevice);
  const bool added = state().peers.insert({current_device(), peerDevice}).second;
  return done_with(added ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled);
}

/// There is no driver behind this runtime.
cudaError_t cudaGetDriverEntryPointByVersion(const char* /*symbol*/, void** funcPtr, unsigned int /*cudaVersion*/,
                                             unsigned long long /*flags*/,
                                             cudaDriverEntryPointQueryResult* driverStatus) {
  *funcPtr = nullptr;
  *driverStatus = cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* driverVersion) {
  *driverVersion = state().devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* runtimeVersion) {
  *runtimeVersion = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() {
  return last_error;
}
const char* cudaGetErrorString(cudaError_t error) {
  return text_of(error).text;
}
const char* cudaGetErrorName(cudaError_t error) {
  return text_of(error).name;
}
