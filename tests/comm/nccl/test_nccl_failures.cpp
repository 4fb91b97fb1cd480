// Ranks that do not come, fail or disagree, on the fake CUDA runtime.
#include <doctest/doctest.h>

#include <atomic>

#include "comm/nccl/ranks.h"
#include "core/error.h"
#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/fake_nccl.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr std::chrono::milliseconds kShort(20);

ExitStatus status_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    MESSAGE(std::string(error.what()));
    return error.status();
  }
  return ExitStatus::ok;
}

}  // namespace

TEST_CASE("a rank that never joins is waited for no longer than the group's patience") {
  const int devices[] = {0};
  const ncclUniqueId id = nccl::NcclGroup::make_id();
  CHECK(status_of([&] { nccl::NcclGroup(id, 2, 0, devices, kShort); }) == ExitStatus::retry);
  CHECK(fake_nccl::live_communicators() == 0);
}

TEST_CASE("who waits for NCCL asks over and over whether to go on, while the group is made and afterwards") {
  struct Enough {};
  const int devices[] = {0};
  const ncclUniqueId id = nccl::NcclGroup::make_id();
  int asked = 0;
  const auto three_times = [&] {
    if (++asked == 3) throw Enough{};
  };
  CHECK_THROWS_AS(nccl::NcclGroup(id, 2, 0, devices, std::chrono::minutes(10), three_times), Enough);
  CHECK(asked == 3);
  CHECK(fake_nccl::live_communicators() == 0);

  const int two[] = {0, 0};
  bool over = false;
  nccl::NcclGroup group(nccl::NcclGroup::make_id(), 2, 0, two, std::chrono::minutes(10), [&] {
    if (over) throw Enough{};
  });
  {
    Rank rank(group.rank(0));
    const Buffer buffer = rank.upload({1.0f});
    rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get());
    over = true;
    CHECK_THROWS_AS(group.close(), Enough);  // rank 1 never makes its part
    group.abort();
    rank.stream.synchronize();
  }
  CHECK(fake_nccl::live_communicators() == 0);
}

TEST_CASE("ranks of several groups of threads join by the id") {
  const ncclUniqueId id = nccl::NcclGroup::make_id();
  std::atomic<int> right{0};
  std::barrier<> all(4);
  std::vector<std::thread> processes;
  for (int p = 0; p < 2; ++p) {
    processes.emplace_back([&, p] {
      const int devices[] = {0, 0};
      nccl::NcclGroup group(id, 4, 2 * p, devices);
      on_ranks(
          group,
          [&](Rank& rank) {
            const Buffer buffer = rank.upload({static_cast<float>(1 << rank.communicator.rank())});
            rank.start();
            rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get());
            right += rank.read(buffer)[0] == 15.0f;
          },
          &all);
      group.close();
    });
  }
  for (std::thread& process : processes) process.join();
  CHECK(right == 4);
  CHECK(fake_nccl::live_communicators() == 0);
}

TEST_CASE("ranks on devices of their own") {
  fake_cuda::set_devices(3);
  {
    const int devices[] = {0, 1, 2};
    nccl::NcclGroup group(devices);
    std::atomic<int> right{0};
    on_ranks(group, [&](Rank& rank) {
      const Buffer buffer = rank.upload({static_cast<float>(1 << rank.communicator.rank())});
      rank.start();
      rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get());
      right += rank.read(buffer)[0] == 7.0f;
    });
    CHECK(right == 3);
  }
  fake_cuda::set_devices(1);
}

TEST_CASE("an abort frees a stream that waits for a rank that never comes, and later operations say so") {
  const int devices[] = {0, 0};
  nccl::NcclGroup group(devices);
  {
    Rank rank(group.rank(0));
    const Buffer buffer = rank.upload({1.0f});
    rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get());
    CHECK(cudaStreamQuery(rank.stream.get()) == cudaErrorNotReady);
    std::thread watchdog([&] { group.abort(); });
    rank.stream.synchronize();
    watchdog.join();
    CHECK(status_of([&] { rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get()); }) == ExitStatus::retry);
    CHECK(rank.communicator.async_error() == "aborted");
  }
  CHECK(fake_nccl::live_communicators() == 0);
}

TEST_CASE("an asynchronous error is seen, and is worth a retry where a peer is lost") {
  const int devices[] = {0, 0};
  nccl::NcclGroup group(devices, kShort);
  Rank rank(group.rank(1));
  const Buffer buffer = rank.upload({1.0f});
  CHECK(rank.communicator.async_error().empty());
  fake_nccl::set_async_error(1, ncclRemoteError);
  CHECK(!rank.communicator.async_error().empty());
  CHECK(status_of([&] { rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get()); }) == ExitStatus::retry);
  fake_nccl::set_async_error(1, ncclUnhandledCudaError);
  CHECK(status_of([&] { rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get()); }) == ExitStatus::failed);
  group.abort();
}

TEST_CASE("ranks that ask for different counts are found out by the double") {
  const int devices[] = {0, 0};
  nccl::NcclGroup group(devices, kShort);
  Rank first(group.rank(0)), second(group.rank(1));
  const Buffer buffer = first.upload({1.0f, 2.0f});
  first.communicator.all_reduce(buffer.floats(), 2, first.stream.get());
  CHECK_THROWS_AS(second.communicator.all_reduce(buffer.floats(), 1, second.stream.get()), std::logic_error);
  group.abort();
  first.stream.synchronize();
}

TEST_CASE("one rank's sum can be captured, several ranks' cannot") {
  const int one[] = {0}, two[] = {0, 0};
  nccl::NcclGroup alone(one), pair(two);
  Rank rank(alone.rank(0)), other(pair.rank(0));
  const Buffer buffer = rank.upload({3.0f});
  const cuda::Graph graph = cuda::Graph::capture(
      rank.stream.get(), [&] { rank.communicator.all_reduce(buffer.floats(), 1, rank.stream.get()); });
  graph.launch(rank.stream.get());
  CHECK(rank.read(buffer)[0] == 3.0f);
  const auto capture = [&] {
    cuda::Graph::capture(other.stream.get(),
                         [&] { other.communicator.all_reduce(buffer.floats(), 1, other.stream.get()); });
  };
  CHECK_THROWS_AS(capture(), std::logic_error);
  pair.abort();
}
