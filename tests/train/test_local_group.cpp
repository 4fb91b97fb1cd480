#include <doctest/doctest.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "comm/local/local_group.h"

namespace dptrain {

TEST_CASE("a barrier: what was written before is seen by all after, many times over") {
  for (const int size : {1, 2, 3, 7}) {
    LocalGroup group(size);
    std::vector<int> written(static_cast<std::size_t>(size), 0);
    std::vector<int> wrong(static_cast<std::size_t>(size), 0);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        for (int round = 1; round <= 50; ++round) {
          written[static_cast<std::size_t>(rank)] = round;
          group.barrier();
          for (const int value : written) wrong[static_cast<std::size_t>(rank)] += value != round;
          group.barrier();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) CHECK(count == 0);
    CHECK(group.error() == nullptr);
  }
}

TEST_CASE("an abort at any moment ends every wait; the first error is kept") {
  for (int round = 0; round < 300; ++round) {
    LocalGroup group(3);
    int aborted[2] = {0, 0};
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          for (;;) group.barrier();
        } catch (const GroupAborted&) {
          ++aborted[rank];
        }
        try {
          group.barrier();  // and any later one
        } catch (const GroupAborted&) {
          ++aborted[rank];
        }
      });
    }
    for (int k = 0; k < round % 5; ++k) group.barrier();
    group.abort(std::make_exception_ptr(std::runtime_error("first")));
    group.abort(std::make_exception_ptr(std::runtime_error("second")));
    for (std::thread& thread : threads) thread.join();
    CHECK(aborted[0] == 2);
    CHECK(aborted[1] == 2);
    CHECK_THROWS_WITH(std::rethrow_exception(group.error()), "first");
  }
}

}  // namespace dptrain
