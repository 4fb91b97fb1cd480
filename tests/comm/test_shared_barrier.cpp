// Processes meet in memory that they share.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "comm/processes/shared_barrier.h"

using namespace dptrain;

namespace {

struct Shared {
  SharedBarrier barrier;
  int written[8];
};

Shared* shared_memory() {
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return static_cast<Shared*>(memory);
}

}  // namespace

TEST_CASE("what a process wrote before the barrier is seen by all behind it, round after round") {
  for (const int spins : {0, 500}) {
    constexpr int kProcesses = 4, kRounds = 200;
    Shared* shared = shared_memory();
    pid_t children[kProcesses];
    for (int rank = 0; rank < kProcesses; ++rank) {
      children[rank] = fork();
      if (children[rank] != 0) continue;
      const std::atomic<bool> never{false};
      bool good = true;
      for (int round = 1; round <= kRounds; ++round) {
        shared->written[rank] = round;
        good = shared->barrier.wait(kProcesses, spins, never) && good;
        for (int other = 0; other < kProcesses; ++other) good = good && shared->written[other] == round;
        good = shared->barrier.wait(kProcesses, spins, never) && good;
      }
      _exit(good ? 0 : 1);
    }
    for (const pid_t child : children) {
      int status = 0;
      REQUIRE(waitpid(child, &status, 0) == child);
      CHECK(status == 0);
    }
    munmap(shared, sizeof(Shared));
  }
}

TEST_CASE("who is interrupted waits for nobody, now and later") {
  Shared* shared = shared_memory();
  std::atomic<bool> interrupted{false};
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    interrupted = true;
  });
  CHECK_FALSE(shared->barrier.wait(2, 10, interrupted));
  CHECK_FALSE(shared->barrier.wait(2, 10, interrupted));
  later.join();
  munmap(shared, sizeof(Shared));
}
