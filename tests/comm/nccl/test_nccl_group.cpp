// Ranks that share a device, over the double of NCCL: sums, exchanges, gathers, and the fixed order that is made of
// them.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>

#include "comm/nccl/ranks.h"
#include "core/bfloat16.h"
#include "core/float16.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

using Floats = std::vector<float>;

float value(int rank, std::size_t i) {
  return static_cast<float>(rank + 1) * 0.5f + static_cast<float>(i % 7);
}
Floats values_of(int rank, std::size_t count) {
  Floats values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = value(rank, i);
  return values;
}
nccl::NcclGroup make_group(int ranks) {
  return nccl::NcclGroup(std::vector<int>(static_cast<std::size_t>(ranks), 0));
}

}  // namespace

TEST_CASE("an all-reduce leaves the sum with every rank, bucket after bucket") {
  for (int ranks = 1; ranks <= 4; ++ranks) {
    CAPTURE(ranks);
    nccl::NcclGroup group = make_group(ranks);
    std::atomic<int> wrong{0};
    on_ranks(group, [&](Rank& rank) {
      constexpr std::size_t kCount = 1000, kBucket = 300;
      const Buffer buffer = rank.upload(values_of(rank.communicator.rank(), kCount));
      rank.start();
      for (std::size_t first = 0; first < kCount; first += kBucket) {
        const auto count = static_cast<std::int64_t>(std::min(kBucket, kCount - first));
        rank.communicator.all_reduce(buffer.floats() + first, count, rank.stream.get());
      }
      const Floats result = rank.read(buffer);
      for (std::size_t i = 0; i < kCount; ++i) {
        float sum = 0;
        for (int r = 0; r < rank.communicator.size(); ++r) sum += value(r, i);
        wrong += result[i] != sum;
      }
      CHECK(rank.communicator.async_error().empty());
    });
    CHECK(wrong == 0);
    group.close();
  }
}

TEST_CASE("an all-reduce of 16 bits rounds at each addition") {
  for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
    nccl::NcclGroup group = make_group(3);
    std::atomic<int> wrong{0};
    on_ranks(group, [&](Rank& rank) {
      // Two halves in the place of a float. 1 + 2^-8 and 1 + 2^-11 are ties in the one and the other type.
      const float ulp = type == ElementType::bfloat16 ? 0x1p-8f : 0x1p-11f;
      const auto rounded = [&](float value) {
        return type == ElementType::bfloat16 ? BFloat16(value).bits : Float16(value).bits;
      };
      const std::uint16_t mine = rounded(rank.communicator.rank() == 0 ? 1.0f : ulp), two[2] = {mine, rounded(3.0f)};
      float both = 0;
      std::memcpy(&both, two, sizeof both);
      const Buffer buffer = rank.upload({both});
      rank.start();
      rank.communicator.all_reduce(buffer.data(), 2, rank.stream.get(), type);
      const Floats result = rank.read(buffer);
      std::uint16_t sums[2];
      std::memcpy(sums, result.data(), sizeof sums);
      wrong += sums[0] != rounded(1.0f) || sums[1] != rounded(9.0f);  // each tie goes to even
    });
    CHECK(wrong == 0);
    group.close();
  }
}

TEST_CASE("an exchange takes every slice to its rank, and a gather brings them back to all") {
  constexpr int kRanks = 4;
  // Slices need not be equal, and the last rank has none.
  const std::vector<nccl::Slice> slices{{0, 32}, {32, 16}, {48, 5}, {53, 0}};
  constexpr std::size_t kCount = 53;
  nccl::NcclGroup group = make_group(kRanks);
  std::atomic<int> wrong{0};
  on_ranks(group, [&](Rank& rank) {
    const int own = rank.communicator.rank();
    const nccl::Slice slice = slices[static_cast<std::size_t>(own)];
    const Buffer buffer = rank.upload(values_of(own, kCount));
    const Buffer received = rank.upload(Floats(static_cast<std::size_t>(kRanks * slice.count) + 1, -1.0f));
    rank.start();
    std::vector<nccl::Send> sends;
    std::vector<nccl::Receive> receives;
    for (int peer = 0; peer < kRanks; ++peer) {
      const nccl::Slice theirs = slices[static_cast<std::size_t>(peer)];
      if (peer == own) continue;
      if (theirs.count > 0) sends.push_back({peer, buffer.floats() + theirs.first, theirs.count});
      if (slice.count > 0) receives.push_back({peer, received.floats() + peer * slice.count, slice.count});
    }
    rank.communicator.exchange(sends, receives, rank.stream.get());
    const Floats got = rank.read(received);
    for (int peer = 0; peer < kRanks; ++peer) {
      for (std::int64_t i = 0; peer != own && i < slice.count; ++i) {
        wrong += got[static_cast<std::size_t>(peer * slice.count + i)] !=
                 value(peer, static_cast<std::size_t>(slice.first + i));
      }
    }
    rank.communicator.all_gather(buffer.floats(), slices, rank.stream.get());
    const Floats all = rank.read(buffer);
    for (int peer = 0; peer < kRanks; ++peer) {
      const nccl::Slice theirs = slices[static_cast<std::size_t>(peer)];
      for (std::int64_t i = theirs.first; i < theirs.first + theirs.count; ++i) {
        wrong += all[static_cast<std::size_t>(i)] != value(peer, static_cast<std::size_t>(i));
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("work behind an all-reduce on its stream finds the sums, and what was before it is in them") {
  nccl::NcclGroup group = make_group(3);
  std::atomic<int> wrong{0};
  on_ranks(group, [&](Rank& rank) {
    const Buffer source = rank.upload(values_of(rank.communicator.rank(), 64)), buffer = rank.upload(Floats(64, 0.0f)),
                 copy = rank.upload(Floats(64, 0.0f));
    rank.start();
    for (int round = 0; round < 5; ++round) {
      const cudaStream_t stream = rank.stream.get();
      cuda::check(cudaMemcpyAsync(buffer.data(), source.data(), 256, cudaMemcpyDeviceToDevice, stream), "copy");
      rank.communicator.all_reduce(buffer.floats(), 64, stream);
      cuda::check(cudaMemcpyAsync(copy.data(), buffer.data(), 256, cudaMemcpyDeviceToDevice, stream), "copy");
    }
    const Floats result = rank.read(copy);
    for (std::size_t i = 0; i < 64; ++i) wrong += result[i] != value(0, i) + value(1, i) + value(2, i);
  });
  CHECK(wrong == 0);
}
