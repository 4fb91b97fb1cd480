#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "spec/job_spec.h"
#include "train/micro_batches.h"

namespace dptrain {

TEST_CASE(
    "cut: every sample in exactly one micro-batch, sizes within one of each other, larger first, none too large") {
  CHECK(rc::check([] {
    const auto samples = *rc::gen::inRange<std::int64_t>(1, 2000);
    const auto size = *rc::gen::inRange<std::int64_t>(1, 300);
    const std::vector<MicroBatch> batches = cut(samples, size);
    RC_ASSERT(batches.size() == static_cast<std::size_t>((samples + size - 1) / size));
    std::int64_t next = 0;
    for (std::size_t m = 0; m < batches.size(); ++m) {
      RC_ASSERT(batches[m].first == next);
      RC_ASSERT(batches[m].count >= 1);
      RC_ASSERT(batches[m].count <= size);
      if (m > 0) RC_ASSERT(batches[m].count <= batches[m - 1].count);  // RC_ASSERT evaluates both sides of ||
      next += batches[m].count;
    }
    RC_ASSERT(next == samples);
    RC_ASSERT(batches.front().count - batches.back().count <= 1);
  }));
}

TEST_CASE("cut: examples") {
  CHECK(cut(10, 4) == std::vector<MicroBatch>{{0, 4}, {4, 3}, {7, 3}});
  CHECK(cut(256, 64) == std::vector<MicroBatch>{{0, 64}, {64, 64}, {128, 64}, {192, 64}});
  CHECK(cut(3, 64) == std::vector<MicroBatch>{{0, 3}});
}

TEST_CASE(
    "share: the replicas' ranges follow each other and cover all micro-batches, counts within one, larger first") {
  CHECK(rc::check([] {
    const int count = *rc::gen::inRange(1, 60), replicas = *rc::gen::inRange(1, 20);
    int next = 0;
    for (int r = 0; r < replicas; ++r) {
      const Range range = share(count, replicas, r);
      RC_ASSERT(range.first == next);
      RC_ASSERT(range.count() >= count / replicas);
      RC_ASSERT(range.count() <= (count + replicas - 1) / replicas);
      if (r > 0) RC_ASSERT(range.count() <= share(count, replicas, r - 1).count());
      next = range.last;
    }
    RC_ASSERT(next == count);
  }));
}

TEST_CASE("micro_batch_size: the spec's, an eighth of the global batch where reproducible, else the replica's part") {
  JobSpec job;
  job.train.global_batch_size = 100;
  CHECK(micro_batch_size(job, 1) == 13);
  CHECK(micro_batch_size(job, 5) == 13);
  job.reproducible = false;
  CHECK(micro_batch_size(job, 3) == 34);
  job.train.micro_batch_size = 7;
  CHECK(micro_batch_size(job, 3) == 7);
}

}  // namespace dptrain
