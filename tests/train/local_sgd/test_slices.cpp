// Slices of a step, and when workers are averaged.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "train/local_sgd/rounds.h"
#include "train/local_sgd/slices.h"

namespace dptrain {

TEST_CASE("slices: every sample in one slice and one micro-batch of it; sizes within one of each other, larger first") {
  CHECK(rc::check([] {
    const auto samples = *rc::gen::inRange<std::int64_t>(1, 700);
    const auto workers = *rc::gen::inRange<std::int64_t>(1, 20);
    const auto size = *rc::gen::inRange<std::int64_t>(1, 90);
    const SlicedStep step = slice_step(samples, workers, size);
    RC_ASSERT(step.slices.size() == static_cast<std::size_t>(workers));
    std::int64_t next = 0, total = 0;
    int micro_batch = 0;
    for (const Slice& slice : step.slices) {
      RC_ASSERT(slice.samples <= step.slices.front().samples);
      RC_ASSERT(slice.samples + 1 >= step.slices.front().samples);
      RC_ASSERT(slice.micro_batches.first == micro_batch);
      RC_ASSERT(slice.micro_batches.count() == (slice.samples + size - 1) / size);
      for (; micro_batch < slice.micro_batches.last; ++micro_batch) {
        const MicroBatch& batch = step.micro_batches[static_cast<std::size_t>(micro_batch)];
        RC_ASSERT(batch.first == next);
        RC_ASSERT(batch.count >= 1);
        RC_ASSERT(batch.count <= size);
        next += batch.count;
      }
      total += slice.samples;
      RC_ASSERT(next == total);
    }
    RC_ASSERT(total == samples);
    RC_ASSERT(static_cast<std::size_t>(micro_batch) == step.micro_batches.size());
  }));
}

TEST_CASE("slices: examples, with more workers than samples too") {
  const SlicedStep full = slice_step(10, 4, 2);
  CHECK(full.slices == std::vector<Slice>{{3, {0, 2}}, {3, {2, 4}}, {2, {4, 5}}, {2, {5, 6}}});
  CHECK(full.micro_batches == std::vector<MicroBatch>{{0, 2}, {2, 1}, {3, 2}, {5, 1}, {6, 2}, {8, 2}});
  const SlicedStep few = slice_step(2, 4, 2);
  CHECK(few.slices == std::vector<Slice>{{1, {0, 1}}, {1, {1, 2}}, {0, {2, 2}}, {0, {2, 2}}});
}

TEST_CASE("rounds: warm-up averages every step, then every H steps; the rounds follow each other without a gap") {
  const Rounds rounds{.warmup = 5, .every = 4};
  CHECK(rounds.last(0) == 1);
  CHECK(rounds.last(4) == 5);
  CHECK(rounds.last(5) == 9);
  CHECK(rounds.first(8) == 5);
  CHECK(rounds.last(9) == 13);
  CHECK(rounds.averages(5) == 0);
  CHECK(rounds.averages(9) == 1);
  CHECK(rounds.averages(11) == 2);  // the end of a run within a round is an average
  CHECK(rounds.averages(13) == 2);
  CHECK(rc::check([] {
    const Rounds any{.warmup = *rc::gen::inRange<std::int64_t>(0, 20), .every = *rc::gen::inRange<std::int64_t>(1, 9)};
    std::int64_t averages = 0;
    for (std::int64_t step = 0; step < 60; step = any.last(step)) {
      RC_ASSERT(any.first(step) == step);
      RC_ASSERT(any.averages(step) == averages);
      averages += step >= any.warmup ? 1 : 0;
      for (std::int64_t k = step; k < any.last(step); ++k) RC_ASSERT(any.last(k) == any.last(step));
    }
  }));
}

TEST_CASE("what is due every so many steps falls to the first average behind, once") {
  CHECK_FALSE(falls_due(0, 8, 10));
  CHECK(falls_due(8, 16, 10));
  CHECK(falls_due(16, 24, 10));
  CHECK(falls_due(9, 10, 10));
  CHECK_FALSE(falls_due(10, 11, 10));
}

}  // namespace dptrain
