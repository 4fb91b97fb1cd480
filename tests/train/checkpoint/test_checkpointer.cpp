// The thread that writes checkpoints beside the training.
#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <mutex>

#include "core/error.h"
#include "train/checkpoint/checkpointer.h"
#include "train/checkpoints.h"

namespace dptrain::test {

namespace {

/// What was warned of, by whichever thread.
struct Warnings {
  std::function<void(const std::string&)> take() {
    return [this](const std::string& text) {
      const std::lock_guard lock(mutex);
      all.push_back(text);
    };
  }
  std::mutex mutex;
  std::vector<std::string> all;
};

Checkpointer::Make make(std::int64_t step, std::int64_t best = -1) {
  return [=] { return small_snapshot(step, best); };
}

void finish(Checkpointer& checkpointer, std::int64_t step, std::int64_t best = -1) {
  checkpointer.finish(small_snapshot(step, best).state, make(step, best));
}

}  // namespace

TEST_CASE(
    "checkpoints appear in order, as many are kept as asked for, and the last one is there when finish() returns") {
  const TemporaryFolder run;
  Warnings warnings;
  std::vector<std::int64_t> order;
  {
    Checkpointer checkpointer(run.path(), 2, warnings.take());
    for (std::int64_t step = 1; step <= 20; ++step) {
      checkpointer.save([step, &order] {
        order.push_back(step);
        return small_snapshot(step, 4);
      });
    }
    finish(checkpointer, 21, 4);
    CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"step-20", "step-21", "step-4"});
  }
  for (std::size_t k = 0; k < 20; ++k) CHECK(order.at(k) == static_cast<std::int64_t>(k) + 1);
  CHECK(warnings.all.empty());
}

TEST_CASE("what waits when the run ends by an error is written before the thread goes") {
  const TemporaryFolder run;
  Warnings warnings;
  {
    Checkpointer checkpointer(run.path(), 3, warnings.take());
    checkpointer.save(make(1));
    checkpointer.save(make(2));
  }
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"step-1", "step-2"});
}

TEST_CASE("save() returns while the one before is written, and waits where one is waiting already") {
  const TemporaryFolder run;
  Warnings warnings;
  std::latch begun(1), go_on(1);
  std::atomic<bool> second = false;
  Checkpointer checkpointer(run.path(), 3, warnings.take());
  checkpointer.save([&] {
    begun.count_down();
    go_on.wait();
    return small_snapshot(1);
  });
  begun.wait();
  checkpointer.save([&] {  // returns: the writer is at work on the first
    second = true;
    return small_snapshot(2);
  });
  CHECK_FALSE(second);
  go_on.count_down();
  finish(checkpointer, 3);
  CHECK(second);
}

TEST_CASE("the last one of a step that was saved already: the new state, and the tensors that are there") {
  const TemporaryFolder run;
  Warnings warnings;
  Checkpointer checkpointer(run.path(), 3, warnings.take());
  checkpointer.save(make(1));
  checkpointer.save(make(2));
  int asked = 0;
  RunState state = small_snapshot(2).state;
  state.best_step = 1;
  checkpointer.finish(state, [&] {
    ++asked;
    return small_snapshot(2);
  });
  CHECK(asked == 0);
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"step-1", "step-2"});
  const Checkpoint last = read_checkpoint(checkpoint_folder(run.path(), 2));
  CHECK(last.snapshot.state.best_step == 1);
  CHECK(last.snapshot.model.size() == 2);
  CHECK(last.snapshot.optimizer.size() == 2);
  CHECK(last.snapshot.model[0].values == small_snapshot(2).model[0].values);
  // Where that one could not be saved, or was lost, it is made after all.
  fs::remove_all(run / "checkpoints/step-2");
  finish(checkpointer, 2);
  CHECK(read_checkpoint(checkpoint_folder(run.path(), 2)).snapshot.state.best_step == -1);
}

TEST_CASE("one that cannot be saved is warned of, the ones after it are saved; the last one is an error") {
  const TemporaryFolder run;
  Warnings warnings;
  Checkpointer checkpointer(run.path(), 3, warnings.take());
  checkpointer.save(make(1));
  checkpointer.save([]() -> Snapshot { fail(ExitStatus::failed, "the disk is full"); });
  checkpointer.save([]() -> Snapshot { throw std::bad_alloc(); });
  checkpointer.save(make(4));
  finish(checkpointer, 5);
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"step-1", "step-4", "step-5"});
  REQUIRE(warnings.all.size() == 2);
  CHECK(has(warnings.all[0], "training goes on: the disk is full"));
  CHECK(has(warnings.all[1], "training goes on: out of memory"));
  fs::remove_all(run / "checkpoints");
  write_text(run / "checkpoints", "a file");
  CHECK_THROWS_AS(finish(checkpointer, 6), Error);
}

TEST_CASE("a warning that fails does not end the process, and the checkpoints after it are saved") {
  const TemporaryFolder run;
  int asked = 0;
  Checkpointer checkpointer(run.path(), 3, [&](const std::string&) {
    ++asked;
    fail(ExitStatus::failed, "metrics.jsonl cannot be written");
  });
  checkpointer.save([]() -> Snapshot { fail(ExitStatus::failed, "the disk is full"); });
  checkpointer.save([]() -> Snapshot { throw 5; });
  checkpointer.save(make(3));
  finish(checkpointer, 4);
  CHECK(asked == 1);
  CHECK(names_in(run / "checkpoints") == std::vector<std::string>{"step-3", "step-4"});
}

}  // namespace dptrain::test
