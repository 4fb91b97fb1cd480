// Device and pinned memory, and copies.
#include <cstdlib>
#include <cstring>

#include "support/fake_cuda/state.h"

namespace fake_cuda {

const Allocation* allocation_of(const void* pointer, std::size_t bytes) {
  const auto& all = state().allocations;
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  auto found = all.upper_bound(address);
  if (found == all.begin()) return nullptr;
  --found;
  return address + bytes <= found->first + found->second.bytes && address < found->first + found->second.bytes
             ? &found->second
             : nullptr;
}

bool is_device_memory(const void* pointer, std::size_t bytes) {
  const Lock lock = lock_state();
  const Allocation* found = allocation_of(pointer, bytes);
  return found != nullptr && found->device >= 0;
}

bool is_pinned_memory(const void* pointer, std::size_t bytes) {
  const Lock lock = lock_state();
  const Allocation* found = allocation_of(pointer, bytes);
  return found != nullptr && found->device < 0;
}

void require_reachable(const void* pointer, std::size_t bytes, int device, const char* what) {
  const Lock lock = lock_state();
  if (pointer == nullptr && bytes == 0) return;
  const Allocation* found = allocation_of(pointer, bytes);
  if (found == nullptr) misuse(std::string(what) + ": neither device memory nor pinned, freed, or too short");
  if (found->device >= 0 && found->device != device && !state().peers.contains({device, found->device}))
    misuse(std::string(what) + ": memory of another device, without peer access");
}

void require_reachable_words(const void* arguments, std::size_t bytes, int device) {
  // Addresses of programs on 64-bit Linux lie here; counts and packed floats in the arguments do not.
  constexpr std::uint64_t kLowest = std::uint64_t{1} << 44, kHighest = std::uint64_t{1} << 47;
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(arguments) + at, sizeof word);
    if (word < kLowest || word >= kHighest) continue;
    require_reachable(reinterpret_cast<const void*>(static_cast<std::uintptr_t>(word)), 1, device,
                      "a kernel's argument");
  }
}

void spoil_workspace(void* workspace, std::size_t bytes) {
  const std::size_t end = std::min(bytes, std::size_t{64} << 10);
  if (end == 0) return;
  std::memset(workspace, 0xFF, end);
  std::memset(static_cast<std::byte*>(workspace) + bytes - end, 0xFF, end);
}

namespace {

constexpr std::size_t kAlignment = 256;  // what cudaMalloc promises
constexpr std::size_t kLarge = std::size_t{16} << 20;  // in tests a workspace alone is; to fill it takes longer than the test

cudaError_t allocate(void** pointer, std::size_t bytes, int device) {
  const Lock lock = lock_state();
  State& s = state();
  *pointer = nullptr;
  if (s.devices == 0) return done_with(cudaErrorNoDevice);
  if (const cudaError_t unsafe = unsafe_call(); unsafe != cudaSuccess) return done_with(unsafe);
  if (bytes == 0) return cudaSuccess;
  std::size_t used = 0;
  for (const auto& [address, allocation] : s.allocations) used += allocation.device == device ? allocation.bytes : 0;
  if (device >= 0 && bytes > s.memory - used) return done_with(cudaErrorMemoryAllocation);
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  *pointer = std::aligned_alloc(kAlignment, rounded);
  if (*pointer == nullptr) return done_with(cudaErrorMemoryAllocation);
  if (rounded > kLarge)
    spoil_workspace(*pointer, rounded);
  else
    std::memset(*pointer, 0xFF, rounded);
  ++s.counters.allocations;
  s.allocations[reinterpret_cast<std::uintptr_t>(*pointer)] = {bytes, device};
  return cudaSuccess;
}

cudaError_t release(void* pointer, bool pinned) {
  Lock lock = lock_state();
  State& s = state();
  if (pointer == nullptr) return cudaSuccess;
  const auto found = s.allocations.find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == s.allocations.end() || (found->second.device < 0) != pinned) return done_with(cudaErrorInvalidValue);
  if (const cudaError_t unsafe = unsafe_call(); unsafe != cudaSuccess) return done_with(unsafe);
  drain(lock, pinned ? current_device() : found->second.device);
  s.allocations.erase(reinterpret_cast<std::uintptr_t>(pointer));
  std::free(pointer);
  return cudaSuccess;
}

enum class Place { pageable, pinned, device };

Place place_of(const void* pointer, std::size_t bytes) {
  if (is_device_memory(pointer, bytes)) return Place::device;
  return is_pinned_memory(pointer, bytes) ? Place::pinned : Place::pageable;
}

void check_direction(Place to, Place from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device != (to == Place::device)) misuse("a copy to memory that is not where its kind says, or too short");
  if (from_device != (from == Place::device))
    misuse("a copy from memory that is not where its kind says, or too short");
}

/// Enqueues a copy, and returns what says that it is done.
std::shared_ptr<Record> add_copy(CUstream_st& stream, void* dst, Place to, const void* src, Place from,
                                 std::size_t count) {
  const auto record = std::make_shared<Record>();
  if (stream.capture && (to == Place::pageable || from == Place::pageable))
    misuse("a captured copy from or to pageable memory");
  if (from == Place::pageable && to == Place::device) {
    const auto* bytes = static_cast<const char*>(src);
    add(stream, [record, dst, staged = std::vector<char>(bytes, bytes + count)] {
      if (!is_device_memory(dst, staged.size())) misuse("a copy to memory that was freed before it ran");
      std::memcpy(dst, staged.data(), staged.size());
      record->done = true;
    });
    return record;
  }
  add(stream, [record, dst, to, src, from, count] {
    if (place_of(dst, count) != to || place_of(src, count) != from)
      misuse("a copy of memory that was freed before it ran");
    std::memmove(dst, src, count);
    record->done = true;
  });
  return record;
}

/// What waits on the host where the stream does not: copies into pageable memory return when they are done.
cudaError_t copy(void* dst, const void* src, std::size_t count, cudaMemcpyKind kind, cudaStream_t stream, bool waits) {
  Lock lock = lock_state();
  if (count == 0) return cudaSuccess;
  CUstream_st& target = stream_of(stream);
  const Place to = place_of(dst, count), from = place_of(src, count);
  check_direction(to, from, kind);
  const auto record = add_copy(target, dst, to, src, from, count);
  const bool within_device = to == Place::device && from == Place::device;
  const bool staged = to == Place::device && from == Place::pageable;
  const bool wait = to == Place::pageable || (waits && !within_device && !staged);
  if (wait) run_until(lock, [&] { return record->done; });
  return cudaSuccess;
}

}  // namespace
}  // namespace fake_cuda

using namespace fake_cuda;

cudaError_t cudaMalloc(void** devPtr, std::size_t size) {
  return allocate(devPtr, size, current_device());
}
cudaError_t cudaMallocHost(void** ptr, std::size_t size) {
  return allocate(ptr, size, -1);
}
cudaError_t cudaHostAlloc(void** pHost, std::size_t size, unsigned int flags) {
  if ((flags & ~static_cast<unsigned>(cudaHostAllocPortable)) != 0) misuse("flags of cudaHostAlloc");
  return allocate(pHost, size, -1);
}
cudaError_t cudaFree(void* devPtr) {
  return release(devPtr, false);
}
cudaError_t cudaFreeHost(void* ptr) {
  return release(ptr, true);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const Lock lock = lock_state();
  if (state().devices == 0) return done_with(cudaErrorNoDevice);
  *free = *total = state().memory;
  for (const auto& [address, allocation] : state().allocations)
    *free -= allocation.device == current_device() ? allocation.bytes : 0;
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* devPtr, int value, std::size_t count, cudaStream_t stream) {
  const Lock lock = lock_state();
  if (count == 0) return cudaSuccess;
  if (!is_device_memory(devPtr, count)) misuse("cudaMemset of what is not device memory");
  add(stream_of(stream), [devPtr, value, count] {
    if (!is_device_memory(devPtr, count)) misuse("cudaMemset of memory that was freed before it ran");
    std::memset(devPtr, value, count);
  });
  return cudaSuccess;
}
cudaError_t cudaMemset(void* devPtr, int value, std::size_t count) {
  return cudaMemsetAsync(devPtr, value, count, nullptr);
}

cudaError_t cudaMemcpy(void* dst, const void* src, std::size_t count, cudaMemcpyKind kind) {
  {
    const Lock lock = lock_state();
    if (const cudaError_t unsafe = unsafe_call(); unsafe != cudaSuccess) return done_with(unsafe);
  }
  return copy(dst, src, count, kind, nullptr, true);
}
cudaError_t cudaMemcpyAsync(void* dst, const void* src, std::size_t count, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy(dst, src, count, kind, stream, false);
}
cudaError_t cudaMemcpyPeerAsync(void* dst, int dstDevice, const void* src, int srcDevice, std::size_t count,
                                cudaStream_t stream) {
  {
    const Lock lock = lock_state();
    const Allocation *to = allocation_of(dst, count), *from = allocation_of(src, count);
    if (count > 0 && (to == nullptr || from == nullptr || to->device != dstDevice || from->device != srcDevice))
      misuse("cudaMemcpyPeerAsync of memory that is not on the devices named");
  }
  return copy(dst, src, count, cudaMemcpyDeviceToDevice, stream, false);
}
