// Barriers order plain memory between threads, and a failure wakes everybody. ThreadSanitizer watches the same test.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/local/local_group.h"

using namespace dptrain;

namespace {

/// Runs `body(rank)` on `size` threads and waits for all.
void on_threads(int size, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

std::exception_ptr failure(const char* message) {
  return std::make_exception_ptr(std::runtime_error(message));
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("what was written before a barrier is seen behind it, round after round") {
  constexpr int kRounds = 400;
  for (int size = 1; size <= 8; ++size) {
    CAPTURE(size);
    LocalGroup group(size);
    CHECK(group.size() == size);
    std::vector<int> written(static_cast<std::size_t>(size));  // plain memory, one element a thread
    std::atomic<int> wrong{0};
    on_threads(size, [&](int rank) {
      for (int round = 1; round <= kRounds; ++round) {
        written[static_cast<std::size_t>(rank)] = round;
        group.barrier();
        for (const int value : written) wrong += value != round;
        group.barrier();
      }
    });
    CHECK(wrong == 0);
    CHECK(group.error() == nullptr);
  }
}

TEST_CASE("nobody passes a barrier before the last arrives") {
  constexpr int kRounds = 200;
  for (const int size : {2, 3, 8}) {
    LocalGroup group(size);
    std::atomic<int> arrived{0}, early{0};
    on_threads(size, [&](int rank) {
      for (int round = 1; round <= kRounds; ++round) {
        if (round % size == rank) std::this_thread::yield();  // the last is another one each time
        ++arrived;
        group.barrier();
        early += arrived.load() < round * size;
        group.barrier();
      }
    });
    CHECK(early == 0);
    CHECK(arrived == kRounds * size);
  }
}

TEST_CASE("an abort wakes those who wait, and later barriers throw") {
  for (int size = 2; size <= 8; ++size) {
    for (int round = 0; round < 25; ++round) {
      LocalGroup group(size);
      std::atomic<int> aborted{0};
      on_threads(size, [&](int rank) {
        try {
          for (int i = 0; i < round % 5; ++i) group.barrier();
          if (rank == round % size) {
            group.abort(failure("out of luck"));
            return;
          }
          while (true) group.barrier();
        } catch (const GroupAborted&) {
          ++aborted;
        }
        CHECK_THROWS_AS(group.barrier(), GroupAborted);
      });
      CHECK(aborted == size - 1);
      CHECK(message_of(group.error()) == "out of luck");
      CHECK_THROWS_AS(group.barrier(), GroupAborted);
    }
  }
}

TEST_CASE("an abort wakes those who have slept for long") {
  LocalGroup group(3);
  std::atomic<int> waiting{0}, aborted{0};
  on_threads(3, [&](int rank) {
    if (rank == 0) {
      while (waiting < 2) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // longer than any spinning
      group.abort(failure("late"));
      return;
    }
    ++waiting;
    try {
      group.barrier();
    } catch (const GroupAborted&) {
      ++aborted;
    }
  });
  CHECK(aborted == 2);
}

TEST_CASE("the first of several failures is kept") {
  LocalGroup group(4);
  group.abort(failure("first"));
  group.abort(failure("second"));
  CHECK(message_of(group.error()) == "first");

  LocalGroup crowd(8);
  on_threads(8, [&](int rank) { crowd.abort(failure(rank % 2 == 0 ? "even" : "odd")); });
  REQUIRE(crowd.error() != nullptr);
  CHECK_THROWS_AS(crowd.barrier(), GroupAborted);
}

TEST_CASE("a group of one throws after an abort too") {
  LocalGroup group(1);
  CHECK_NOTHROW(group.barrier());
  group.abort(failure("alone"));
  CHECK_THROWS_AS(group.barrier(), GroupAborted);
}
