// Purpose: a block of bytes whose memory is not touched before it is written: dataset bodies are read straight into it.
// Thread safety: a value that is moved, not copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace dptrain {

class ByteBlock {
 public:
  ByteBlock() = default;
  /// Uninitialised. Large blocks ask the kernel for huge pages: fewer faults while reading and gathering.
  /// Errors: out of memory (failed).
  explicit ByteBlock(std::size_t size);

  std::uint8_t* data() { return bytes_.get(); }
  const std::uint8_t* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }
  std::span<const std::uint8_t> span() const { return {data(), size_}; }

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const;
  };
  std::unique_ptr<std::uint8_t, Free> bytes_;
  std::size_t size_ = 0;
};

}  // namespace dptrain
