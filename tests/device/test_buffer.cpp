#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/error.h"
#include "device/buffer.h"

using namespace dptrain;

/// AddressSanitizer would end the process where memory runs out; here that is what is tested.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace {

bool aligned(const void* address, std::uintptr_t to) {
  return reinterpret_cast<std::uintptr_t>(address) % to == 0;
}

}  // namespace

TEST_CASE("a buffer is aligned, zero, and as large as asked for") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{4097},
                                  (std::size_t{2} << 20) - 1, std::size_t{2} << 20, (std::size_t{2} << 20) + 5}) {
    const Buffer buffer = Buffer::host(bytes);
    REQUIRE(buffer.size() == bytes);
    CHECK(aligned(buffer.data(), 64));
    if (bytes >= std::size_t{2} << 20) CHECK(aligned(buffer.data(), std::size_t{2} << 20));
    const auto* first = static_cast<const unsigned char*>(buffer.data());
    CHECK(std::all_of(first, first + bytes, [](unsigned char byte) { return byte == 0; }));
  }
}

TEST_CASE("no bytes are no memory") {
  CHECK(Buffer().data() == nullptr);
  CHECK(Buffer().size() == 0);
  CHECK(Buffer::host(0).data() == nullptr);
}

TEST_CASE("moving a buffer keeps its address") {
  Buffer first = Buffer::host_floats(10);
  CHECK(first.size() == 40);
  float* address = first.floats();
  address[9] = 3;
  const Buffer second = std::move(first);
  CHECK(second.floats() == address);
  CHECK(second.floats()[9] == 3);
}

TEST_CASE("more than there is fails with a message") {
  const std::size_t too_much = std::size_t{1} << 60;
  CHECK_THROWS_WITH_AS(Buffer::host(too_much), "out of memory: 1152921504606846976 bytes were asked for", Error);
}

TEST_CASE("adopted memory is given back once, by whom it came from") {
  static int released = 0;
  int memory = 7;
  {
    Buffer buffer = Buffer::adopt(&memory, sizeof memory, [](void*) { ++released; });
    CHECK(buffer.data() == &memory);
    CHECK(buffer.size() == sizeof memory);
    const Buffer moved = std::move(buffer);
    CHECK(moved.data() == &memory);
    CHECK(released == 0);
  }
  CHECK(released == 1);
}
