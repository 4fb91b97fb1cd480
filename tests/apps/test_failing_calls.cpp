// Every system call of saving made to fail once, through the built binary: the run goes on with a warning, or ends with
// 1 and says which file and why; what is on the disk is good either way, and the run can be gone on with.
#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>

#include "apps/end_to_end.h"

namespace dptrain::test {

namespace {

/// Where waiting for the disk takes no time, if there is such a place.
struct InMemory {
  InMemory() : before(std::getenv("TMPDIR") == nullptr ? "" : std::getenv("TMPDIR")) {
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 1);
  }
  ~InMemory() {
    if (before.empty())
      ::unsetenv("TMPDIR");
    else
      ::setenv("TMPDIR", before.c_str(), 1);
  }
  std::string before;
};

const std::vector<std::string> kArguments = {"job.yaml", "--json",        "--out", "run",
                                             "--set",    "train.steps=4", "--set", "checkpoint.every=2 steps"};

/// Makes call after call fail, each in a run of its own; how many there were.
int fail_each(int error) {
  const InMemory in_memory;
  const Workplace whole;
  const std::string wanted = nlohmann::json::parse(whole.dptrain(kArguments).out)["weights_hash"];
  for (int call = 1;; ++call) {
    const Workplace here;
    const Finished first = here.dptrain(kArguments, {{"LD_PRELOAD", DPTRAIN_FAILING_CALLS},
                                                     {"FAIL_UNDER", (here.folder / "run").string()},
                                                     {"FAIL_AT", std::to_string(call)},
                                                     {"FAIL_WITH", std::to_string(error)},
                                                     {"FAIL_MARK", (here.folder / "mark").string()}});
    CAPTURE(call);
    INFO(first.err);
    if (!fs::exists(here.folder / "mark")) {
      CHECK(first.status == 0);
      CHECK(first.err.empty());
      return call - 1;
    }
    if (error == 0) {
      CHECK(first.status == 0);
      CHECK(first.err.empty());
    } else {
      CHECK((first.status == 0 || first.status == 1));
      const std::string ended = nlohmann::json::parse(first.out)["status"];
      CHECK(ended == (first.status == 0 ? "done" : "failed"));
      CHECK(has(first.err, std::strerror(error)));
      CHECK(has(first.err, "run"));
      if (first.status == 0) CHECK(has(first.err, "warning: a checkpoint was not saved, training goes on: "));
    }
    if (first.status == 0) CHECK(here.summary("run")["weights_hash"] == wanted);

    std::vector<std::string> again = kArguments;
    again.push_back("--resume");
    const Finished resumed = here.dptrain(again);
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    CHECK_FALSE(has(resumed.err, "cannot be used"));
    REQUIRE(here.summary("run")["weights_hash"] == wanted);
    CHECK(fs::exists(here.folder / "run/checkpoints/step-4/manifest.json"));
  }
}

/// A run whose one checkpoint is replaced by another of its step, on a file system that cannot exchange folders. Call
/// after call fails, or ends the process where `error` is -1; how many there were. Whatever happens the run is gone on
/// with.
int fail_each_in_replacing(int error) {
  const InMemory in_memory;
  const std::vector<std::string> keep_one = {"--set", "checkpoint.keep=1"};
  std::vector<std::string> first = kArguments, again = kArguments;
  first.insert(first.end(), keep_one.begin(), keep_one.end());
  again.insert(again.end(), keep_one.begin(), keep_one.end());
  again.insert(again.end(), {"--resume", "--set", "expect.test_accuracy=0.0"});
  const Workplace whole;
  const std::string wanted = nlohmann::json::parse(whole.dptrain(first).out)["weights_hash"];
  for (int call = 1;; ++call) {
    const Workplace here;
    fs::copy(whole.folder / "run", here.folder / "run", fs::copy_options::recursive);
    const Finished replaced = here.dptrain(again, {{"LD_PRELOAD", DPTRAIN_FAILING_CALLS},
                                                   {"NO_EXCHANGE", "1"},
                                                   {"FAIL_UNDER", (here.folder / "run/checkpoints").string()},
                                                   {"FAIL_AT", std::to_string(call)},
                                                   {"FAIL_WITH", std::to_string(error)},
                                                   {"FAIL_MARK", (here.folder / "mark").string()}});
    CAPTURE(call);
    INFO(replaced.err);
    const bool failed = fs::exists(here.folder / "mark");
    if (!failed) CHECK(replaced.status == 0);
    if (failed && error == -1) CHECK(replaced.status == 128 + SIGKILL);
    // What a process that was not killed leaves can be used as it lies there.
    if (error != -1) CHECK(fs::exists(here.folder / "run/checkpoints/step-4/manifest.json"));
    std::vector<std::string> with_log = again;
    std::erase(with_log, "--json");
    const Finished resumed = here.dptrain(with_log);
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    if (replaced.status != 0) CHECK(has(resumed.err + resumed.out, "resumed at step 4"));
    REQUIRE(here.summary("run")["weights_hash"] == wanted);
    if (!failed) return call - 1;
  }
}

}  // namespace

TEST_CASE(
    "a checkpoint takes the place of another where folders cannot be exchanged: an error at each call, and a kill") {
  CHECK(fail_each_in_replacing(EIO) > 10);
  CHECK(fail_each_in_replacing(-1) > 10);
}
TEST_CASE("a full disk, at each call") {
  CHECK(fail_each(ENOSPC) > 50);
}
TEST_CASE("an input/output error, at each call") {
  CHECK(fail_each(EIO) > 50);
}
TEST_CASE("a write that takes half of its bytes, at each write") {
  CHECK(fail_each(0) > 10);
}

TEST_CASE("a record that does not come to the disk ends the run before a checkpoint counts on it") {
  const Workplace here;
  std::vector<std::string> arguments = kArguments;
  arguments.insert(arguments.end(), {"--mode", "async", "--set", "async.record=true"});
  // Opened and synced as it begins, and again before the first checkpoint.
  const Finished failed = here.dptrain(arguments, {{"LD_PRELOAD", DPTRAIN_FAILING_CALLS},
                                                   {"FAIL_UNDER", (here.folder / "run/async.record").string()},
                                                   {"FAIL_AT", "4"},
                                                   {"FAIL_WITH", std::to_string(EIO)},
                                                   {"FAIL_MARK", (here.folder / "mark").string()}});
  CHECK(failed.status == 1);
  CHECK(has(failed.err, "async.record"));
  CHECK(has(failed.err, std::strerror(EIO)));
  CHECK_FALSE(fs::exists(here.folder / "run/checkpoints/step-2"));
}

}  // namespace dptrain::test
