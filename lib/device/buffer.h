// Purpose: owned memory of one device. Thread safety: none of its own; the bytes belong to whoever the owner lends them
//   to.
// Invariants: the address never changes; it is a multiple of 64 bytes (2 MiB for large buffers); the bytes start as
//   zero.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace dptrain {

class Buffer {
 public:
  Buffer() = default;
  /// Host memory; from 2 MiB up on huge pages where the system offers them. Errors: Error(failed) where memory runs
  /// out.
  static Buffer host(std::size_t bytes);
  static Buffer host_floats(std::int64_t count) { return host(static_cast<std::size_t>(count) * sizeof(float)); }

  using Release = void (*)(void*);
  /// Memory that somebody else allocated, given back through `release` at the end. It keeps the invariants above.
  static Buffer adopt(void* memory, std::size_t bytes, Release release);

  void* data() const { return bytes_.get(); }
  float* floats() const { return static_cast<float*>(bytes_.get()); }
  std::size_t size() const { return size_; }

 private:
  std::unique_ptr<void, Release> bytes_{nullptr, nullptr};
  std::size_t size_ = 0;
};

}  // namespace dptrain
