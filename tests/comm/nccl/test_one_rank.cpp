// NCCL itself, with the one rank that any GPU allows.
#include <doctest/doctest.h>

#include "comm/nccl/ranks.h"

using namespace dptrain;
using namespace dptrain::testing;

TEST_CASE("one rank: sums, gathers, and a clean end") {
  const int devices[] = {0};
  nccl::NcclGroup group(devices);
  {
    Rank rank(group.rank(0));
    const std::vector<float> values{1.0f, -2.0f, 3.0f};
    const Buffer buffer = rank.upload(values);
    const nccl::Slice slices[] = {{0, 3}};
    rank.communicator.all_reduce(buffer.floats(), 3, rank.stream.get());
    rank.communicator.all_gather(buffer.floats(), slices, rank.stream.get());
    CHECK(rank.read(buffer) == values);
    CHECK(rank.communicator.async_error().empty());
  }
  group.close();
}
