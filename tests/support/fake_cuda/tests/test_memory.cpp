// The fake's memory: what is alive, what copies wait for, and what they refuse.
#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "support/fake_cuda/fake_cuda.h"

using namespace dptrain;

TEST_CASE("buffers are zeroed, aligned, counted and given back") {
  const auto before = fake_cuda::counters().allocations;
  {
    const Buffer device = cuda::device_buffer(100), pinned = cuda::pinned_buffer(100);
    CHECK(fake_cuda::counters().allocations == before + 2);
    CHECK(reinterpret_cast<std::uintptr_t>(device.data()) % 256 == 0);
    CHECK(fake_cuda::is_device_memory(device.data(), 100));
    CHECK_FALSE(fake_cuda::is_device_memory(device.data(), 101));
    CHECK(fake_cuda::is_pinned_memory(pinned.data(), 100));
    std::vector<unsigned char> host(100, 7);
    cuda::check(cudaMemcpy(host.data(), device.data(), 100, cudaMemcpyDeviceToHost), "cudaMemcpy");
    CHECK(host == std::vector<unsigned char>(100, 0));
    CHECK(std::memcmp(host.data(), pinned.data(), 100) == 0);
  }
  CHECK(fake_cuda::live_objects() == 0);
  CHECK(cuda::device_buffer(0).data() == nullptr);
}

TEST_CASE("running out of memory says how much was asked for") {
  fake_cuda::set_memory(1000);
  {
    const Buffer most = cuda::device_buffer(900);
    CHECK(cuda::free_memory(0) == 100);
    try {
      cuda::device_buffer(101);
      FAIL("there was memory");
    } catch (const Error& error) {
      CHECK(std::string(error.what()) ==
            "101 bytes of GPU memory could not be had: out of memory (cudaErrorMemoryAllocation)");
    }
    CHECK(cudaPeekAtLastError() == cudaSuccess);
  }
  fake_cuda::set_memory(std::size_t{1} << 30);
}

TEST_CASE("pageable sources are read at once, pinned ones when the copy runs") {
  const cuda::Stream stream;
  const Buffer device = cuda::device_buffer(2 * sizeof(int)), pinned = cuda::pinned_buffer(sizeof(int));
  int pageable = 1, result[2] = {};
  auto* from_pinned = static_cast<int*>(pinned.data());
  *from_pinned = 1;
  auto* place = static_cast<int*>(device.data());
  cuda::check(cudaMemcpyAsync(place, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream.get()), "copy");
  cuda::check(cudaMemcpyAsync(place + 1, from_pinned, sizeof(int), cudaMemcpyHostToDevice, stream.get()), "copy");
  pageable = 2;
  *from_pinned = 2;
  cuda::check(cudaMemcpyAsync(result, place, sizeof result, cudaMemcpyDeviceToHost, stream.get()), "copy");
  CHECK(result[0] == 1);  // a copy into pageable memory waits for itself
  CHECK(result[1] == 2);
}

TEST_CASE("a copy from pageable memory may arrive after cudaMemcpy returned") {
  const Buffer device = cuda::device_buffer(sizeof(int));
  const cuda::Stream stream;
  bool early = false;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    fake_cuda::set_seed(seed);
    int value = 0, seen = 0;
    cuda::check(cudaMemset(device.data(), 0, sizeof(int)), "cudaMemset");
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    value = 5;
    cuda::check(cudaMemcpy(device.data(), &value, sizeof value, cudaMemcpyHostToDevice), "cudaMemcpy");
    cuda::check(cudaMemcpyAsync(&seen, device.data(), sizeof seen, cudaMemcpyDeviceToHost, stream.get()), "copy");
    early = early || seen == 0;
    cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  CHECK(early);
}

TEST_CASE("copies to the wrong place are refused") {
  const Buffer device = cuda::device_buffer(8);
  char host[16] = {};
  CHECK_THROWS_AS(cudaMemcpy(device.data(), host, 9, cudaMemcpyHostToDevice), fake_cuda::Misuse);
  CHECK_THROWS_AS(cudaMemcpy(host, device.data(), 8, cudaMemcpyHostToDevice), fake_cuda::Misuse);
  CHECK_THROWS_AS(cudaMemcpy(host, host + 8, 8, cudaMemcpyDeviceToDevice), fake_cuda::Misuse);
  CHECK_THROWS_AS(fake_cuda::require_reachable(host, 1, 0, "x"), fake_cuda::Misuse);
  const cuda::Stream stream;
  CHECK_THROWS_AS(
      cuda::Graph::capture(stream.get(),
                           [&] { cudaMemcpyAsync(device.data(), host, 8, cudaMemcpyHostToDevice, stream.get()); }),
      fake_cuda::Misuse);
}
