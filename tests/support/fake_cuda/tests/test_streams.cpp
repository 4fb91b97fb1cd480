// The fake's streams: order within one, any order between two unless an event says otherwise, and nothing before a
// wait.
#include <doctest/doctest.h>

#include <set>
#include <thread>
#include <vector>

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/launch.h"

using namespace dptrain;

namespace {

struct Store {
  float* target;
  float value;
  void operator()(std::int64_t i) const { target[i] = value; }
};

float read(const Buffer& buffer) {
  float value = 0;
  cuda::check(cudaMemcpy(&value, buffer.data(), sizeof value, cudaMemcpyDeviceToHost), "cudaMemcpy");
  return value;
}

/// Two streams write the same place, the second with or without waiting for the first.
float written_last(bool with_wait) {
  const Buffer place = cuda::device_buffer(sizeof(float));
  const cuda::Stream first, second;
  cuda::Event done;
  cuda::for_each(1, first.get(), Store{place.floats(), 1});
  done.record(first.get());
  if (with_wait) done.make_wait(second.get());
  cuda::for_each(1, second.get(), Store{place.floats(), 2});
  second.synchronize();
  first.synchronize();
  return read(place);
}

}  // namespace

TEST_CASE("a missing wait shows under some seed, a wait helps under all") {
  std::set<float> without, with;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    fake_cuda::set_seed(seed);
    without.insert(written_last(false));
    with.insert(written_last(true));
  }
  CHECK(without == std::set<float>{1, 2});
  CHECK(with == std::set<float>{2});
  CHECK(fake_cuda::live_objects() == 0);
}

TEST_CASE("nothing runs before the host waits, and a stream runs in order") {
  const cuda::Stream stream;
  std::vector<int> ran;
  for (int k = 0; k < 5; ++k) fake_cuda::enqueue(stream.get(), [&ran, k] { ran.push_back(k); });
  CHECK(ran.empty());
  stream.synchronize();
  CHECK(ran == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("a wait is for the record that was latest when it was asked for") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    fake_cuda::set_seed(seed);
    const cuda::Stream first, second;
    cuda::Event event;
    bool later_ran = false, later_ran_before = false;
    event.record(first.get());
    event.make_wait(second.get());
    fake_cuda::enqueue_when(
        first.get(), [&] { return later_ran_before || later_ran; }, [] {});
    event.record(first.get());  // can only run after what `second` does next
    fake_cuda::enqueue(second.get(), [&] { later_ran = true; });
    event.synchronize();
    CHECK(later_ran);
  }
}

TEST_CASE("an event that was never recorded counts as reached") {
  const cuda::Stream stream;
  const cuda::Event event;
  event.make_wait(stream.get());
  stream.synchronize();
  event.synchronize();
  CHECK(event.reached());
}

TEST_CASE("asking runs some work, so that a loop that asks ends") {
  const cuda::Stream stream;
  cuda::Event event;
  bool ran = false;
  fake_cuda::enqueue(stream.get(), [&] { ran = true; });
  event.record(stream.get());
  int asked = 0;
  while (!event.reached()) ++asked;
  CHECK(ran);
  CHECK(cudaPeekAtLastError() == cudaSuccess);  // "not ready" was an answer
  CHECK(cudaStreamQuery(stream.get()) == cudaSuccess);
}

TEST_CASE("timed events measure their own stream's work, under every seed, and are not waited for") {
  const auto took = [](int operations, bool waits) {
    const cuda::Stream stream, other;
    cuda::TimedEvent began, ended;
    cuda::Event busy;
    for (int k = 0; k < 100; ++k) fake_cuda::enqueue(other.get(), [] {});
    busy.record(other.get());
    began.record(stream.get());
    for (int k = 0; k < operations; ++k) fake_cuda::enqueue(stream.get(), [] {});
    if (waits) busy.make_wait(stream.get());
    ended.record(stream.get());
    CHECK_THROWS_AS(static_cast<void>(ended.seconds_since(began)), Error);  // it is not reached
    stream.synchronize();
    return ended.seconds_since(began);
  };
  const double empty = took(0, false), ten = took(10, false);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    fake_cuda::set_seed(seed);
    CHECK(took(10, false) == ten);
    CHECK(took(20, false) - ten == doctest::Approx(ten - empty));
    CHECK(took(10, true) > 5 * ten);
  }
  cudaEvent_t timed = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&timed, cudaEventDefault) == cudaSuccess);
  CHECK_THROWS_AS(cudaEventSynchronize(timed), fake_cuda::Misuse);
  CHECK_THROWS_AS(cudaStreamWaitEvent(nullptr, timed, 0), fake_cuda::Misuse);
  CHECK(cudaEventDestroy(timed) == cudaSuccess);
}

TEST_CASE("a rank that waits for another's work waits for the other's thread") {
  const cuda::Stream stream;
  bool arrived = false, met = false;
  fake_cuda::enqueue_when(
      stream.get(), [&] { return arrived; }, [&] { met = true; });
  std::thread other([&] {
    const cuda::Stream own;
    fake_cuda::enqueue(own.get(), [&] { arrived = true; });
    own.synchronize();
  });
  stream.synchronize();
  CHECK(met);
  other.join();
}

TEST_CASE("what a real runtime would do damage with is refused") {
  fake_cuda::set_devices(2);
  {
    const cuda::Stream stream;
    cuda::Event event;
    cuda::use_device(1);
    const cuda::Stream other;
    CHECK_THROWS_AS(fake_cuda::enqueue(stream.get(), [] {}), fake_cuda::Misuse);
    CHECK(cudaEventRecord(event.get(), other.get()) == cudaErrorInvalidResourceHandle);
    CHECK_THROWS_AS(event.record(other.get()), Error);
    CHECK(cudaGetLastError() == cudaSuccess);
    const Buffer there = cuda::device_buffer(sizeof(float));
    cuda::use_device(0);
    cuda::for_each(1, stream.get(), Store{there.floats(), 1});
    CHECK_THROWS_AS(stream.synchronize(), fake_cuda::Misuse);  // no peer access
    CHECK(cudaDeviceEnablePeerAccess(1, 0) == cudaSuccess);
    CHECK(cudaDeviceEnablePeerAccess(1, 0) == cudaErrorPeerAccessAlreadyEnabled);
    CHECK(cudaGetLastError() == cudaErrorPeerAccessAlreadyEnabled);
    cuda::for_each(1, stream.get(), Store{there.floats(), 1});
    stream.synchronize();
    float pageable = 0;
    cuda::for_each(1, stream.get(), Store{&pageable, 1});
    CHECK_THROWS_AS(stream.synchronize(), fake_cuda::Misuse);
  }
  fake_cuda::set_devices(1);
  CHECK_THROWS_AS(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(16)), fake_cuda::Misuse);
}

TEST_CASE("the devices that there are") {
  fake_cuda::set_devices(3);
  CHECK(cuda::devices().all.size() == 3);
  CHECK(cuda::devices().all[0].name == "Fake GPU");
  CHECK(cuda::devices().problem.empty());
  CHECK_THROWS_AS(cuda::use_device(3), Error);
  fake_cuda::set_devices(0);
  CHECK(cuda::devices().all.empty());
  CHECK(cuda::devices().problem == "no CUDA-capable device is detected");
  CHECK_THROWS_AS(cuda::Stream(), Error);
  CHECK_THROWS_AS(cuda::device_buffer(8), Error);
  fake_cuda::set_devices(1);
}
