// `dptrain compare`: its table, its object, settings by mode, and what is refused before anything is trained.
#include <doctest/doctest.h>

#include "apps/comparing.h"

namespace dptrain::test {

using nlohmann::json;

TEST_CASE("compare runs each mode with each seed and leaves their folders") {
  const Workplace here;
  const Finished done =
      here.dptrain(compare({"--modes", "sync", "--target", "0.01", "--seeds", "2", "--json", "--out", "runs/c"}));
  CHECK(done.status == 0);
  CHECK(done.err.empty());
  const json comparison = json::parse(done.out);
  CHECK(comparison.at("reached") == true);
  CHECK(comparison.at("replicas") == 2);
  CHECK(comparison.at("modes").size() == 1);
  const auto& runs = comparison.at("modes").at(0).at("runs");
  REQUIRE(runs.size() == 2);
  CHECK(runs.at(0).at("seed") == 1);
  CHECK(runs.at(1).at("seed") == 2);
  for (const auto& run : runs) {
    CHECK(run.at("step") == 2);  // it ends where it has reached the target
    const auto summary = here.summary(run.at("folder").get<std::string>());
    CHECK(summary.at("seed") == run.at("seed"));
    CHECK(summary.at("steps") == 2);
    CHECK(summary.at("weights_hash") == run.at("weights_hash"));
  }
  CHECK(json::parse(read_text(here.folder / "runs/c/comparison.json")) == comparison);
}

TEST_CASE("compare takes the modes in turn, seed by seed; the job's own expectations do not count") {
  const Workplace here;
  const Finished done =
      here.dptrain({"compare", "--modes", "sync,local_sgd", "job.yaml", "--target", "0.01", "--seeds", "2", "--set",
                    "evaluate.every=8 steps", "--set", "expect.test_accuracy=1", "--out", "c", "--devices", "2"});
  CHECK(done.status == 0);
  CHECK(has(done.out, "small, 2 replicas, seeds 1 to 2\n"));
  CHECK(has(done.out, "sync        2 of 2"));
  CHECK(has(done.out, "local_sgd   2 of 2"));
  const std::size_t first = done.err.find("sync, seed 1"), second = done.err.find("local_sgd, seed 1"),
                    third = done.err.find("sync, seed 2");
  CHECK(first < second);
  CHECK(second < third);
  CHECK(third != std::string::npos);
  CHECK(here.summary("c/local_sgd-seed-2").at("mode") == "local_sgd");
}

TEST_CASE("a target that is missed: status 4, and the table says in how many seeds; every run went to its end") {
  const Workplace here;
  const Finished done = here.dptrain(compare({"--modes", "sync", "--target", "1", "--seeds", "1", "--out", "c"}));
  CHECK(done.status == 4);
  CHECK(has(done.out, "seconds to 100%"));
  CHECK(has(done.out, "0 of 1"));
  CHECK(here.summary("c/sync-seed-1").at("steps") == 6);
}

TEST_CASE("batch and rate of a mode are for its runs alone, and the object says what each mode ran with") {
  const Workplace here;
  write_text(
      here.folder / "job.yaml",
      std::string(small_job) + "async: {max_staleness: 2, train: {micro_batch_size: 32, optimizer: {lr: 0.05}}}\n");
  const Finished done =
      here.dptrain(compare({"--modes", "sync,async", "--target", "0.01", "--seeds", "1", "--out", "c", "--set",
                            "async.train.optimizer.momentum=0.5", "--set", "train.clip_grad_norm=9"}));
  CHECK(done.status == 0);
  CHECK(
      has(done.out, "\nasync with train.micro_batch_size=32, train.optimizer.lr=0.05, train.optimizer.momentum=0.5\n"));
  const json comparison = json::parse(read_text(here.folder / "c/comparison.json"));
  const json sync = mode_in(comparison, "sync").at("settings"), async = mode_in(comparison, "async").at("settings");
  CHECK(sync.at("train.optimizer.lr") == 0.1);
  CHECK(sync.at("train.micro_batch_size") == 16);
  CHECK(sync.at("train.clip_grad_norm") == 9);
  CHECK(async.at("train.optimizer.lr") == 0.05);
  CHECK(async.at("train.optimizer.momentum") == 0.5);
  CHECK(async.at("train.micro_batch_size") == 32);
  CHECK(async.at("train.clip_grad_norm") == 9);
  CHECK(async.at("async.max_staleness") == 2);
  CHECK(has(read_text(here.folder / "c/async-seed-1/job.yaml"), "lr: 0.05, momentum: 0.5"));
  CHECK(has(read_text(here.folder / "c/sync-seed-1/job.yaml"), "lr: 0.1, momentum: 0,"));
}

TEST_CASE("where the job evaluates at its end alone, compare looks after every twentieth of the run") {
  const Workplace here;
  const Finished done = here.dptrain({"compare", "job.yaml", "--modes", "sync", "--target", "1", "--seeds", "1",
                                      "--set", "train.steps=60", "--out", "c", "--quiet"});
  CHECK(done.status == 4);
  CHECK(has(read_text(here.folder / "c/sync-seed-1/job.yaml"), "evaluate: {every: 3 steps, views: 1}"));
}

TEST_CASE("what compare cannot do is said before anything is trained, with status 2") {
  const Workplace here;
  const auto refusal = [&](const std::vector<std::string>& more, const std::string& part) {
    const Finished done = here.dptrain(compare(more));
    CHECK(done.status == 2);
    CHECK_MESSAGE(has(done.err, part), done.err);
  };
  refusal({"--modes", "sync"}, "--target is required");
  refusal({"--modes", "sync", "--target", "98.5"}, "such as 0.985 for 98.5%");
  refusal({"--modes", "sync", "--target", "nan"}, "--target");
  refusal({"--modes", "sync,synch", "--target", "0.9"}, "unknown mode 'synch'");
  refusal({"--modes", "sync,sync", "--target", "0.9"}, "more than once");
  refusal({"--modes", "sync", "--mode", "sync", "--target", "0.9"}, "--modes");
  refusal({"--modes", "sync", "--target", "0.9", "--seeds", "0"}, "--seeds");
  refusal({"--modes", "sync", "--target", "0.9", "--devices", "64"}, "replicas");
  refusal({"--modes", "sync,local_sgd", "--target", "0.9", "--set", "local_sgd.workers=1"}, "local_sgd.workers");
  refusal({"--modes", "sync", "--target", "0.9", "--set", "async.train.optimizer.lr=1"},
          "--set async.train.optimizer.lr=1: async is not one of the modes");
  refusal({"--modes", "sync", "--target", "0.9", "--set", "asinc.train.optimizer.lr=1"}, "did you mean 'async'?");
  refusal({"--modes", "sync,async", "--target", "0.9", "--set", "async.train.optimizer.rate=1"}, "unknown key 'rate'");
  refusal({"--modes", "sync,async", "--target", "0.9", "--set", "async.train.optimizer.lr=fast"}, "found 'fast'");
  refusal({"--modes", "sync", "--target", "0.9", "--resume"}, "--resume needs --out");
  refusal({"--modes", "sync", "--target", "0.9", "--out", "x", "--resume", "--fresh"}, "give one of them");
  CHECK_FALSE(fs::exists(here.folder / "x"));
  CHECK_FALSE(fs::exists(here.folder / "runs"));

  fs::create_directories(here.folder / "d");
  write_text(here.folder / "d/comparison.json", "mine");
  refusal({"--modes", "sync", "--target", "0.9", "--out", "d"}, "is there already");
  refusal({"--modes", "sync", "--target", "0.9", "--out", "d", "--resume"}, "is no comparison");
  refusal({"--modes", "sync", "--target", "0.9", "--out", "d", "--fresh"}, "is no comparison");
  CHECK(read_text(here.folder / "d/comparison.json") == "mine");
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "c/sync-seed-1"}).status == 0);
  refusal({"--modes", "sync", "--target", "0.9", "--out", "c"}, "holds a run");
  refusal({"--modes", "local_sgd,sync", "--target", "0.9", "--out", "c", "--resume", "--set", "train.optimizer.lr=0.2"},
          "c/sync-seed-1 is of another job: '");
  CHECK_FALSE(fs::exists(here.folder / "c/local_sgd-seed-1"));
  CHECK(here.dptrain(compare({"--modes", "sync", "--target", "0.01", "--out", "c", "--fresh"})).status == 0);
}

TEST_CASE(
    "a job with what only sync can do is not compared as another one; the refusal says what makes it comparable") {
  const Workplace here;
  write_text(here.folder / "job.yaml",
             std::string(small_job) + "faults: {on_nan: rollback, on_replica_failure: continue}\nbalance: auto\n");
  std::vector<std::string> arguments =
      compare({"--modes", "sync,async,local_sgd", "--target", "0.01", "--seeds", "1", "--out", "c"});
  const std::vector<std::string> all{"faults.on_nan=stop", "faults.on_replica_failure=stop", "balance=off"};
  std::size_t given = 0;
  for (Finished done; given <= all.size(); ++given) {
    done = here.dptrain(arguments);
    if (done.status == 0) break;
    CHECK(done.status == 2);
    CHECK(has(done.err, "job.yaml:"));
    for (const std::string& setting : all) {
      if (!has(done.err, "--set " + setting + " is for every mode")) continue;
      arguments.insert(arguments.end(), {"--set", setting});
    }
    CHECK_FALSE(fs::exists(here.folder / "c"));
  }
  CHECK(given > 0);
  CHECK(fs::exists(here.folder / "c/comparison.json"));
}

TEST_CASE("a dataset that is missing ends a comparison with its status") {
  const Workplace here;
  const Finished done = here.dptrain(
      compare({"--modes", "sync", "--target", "0.9", "--set", "dataset={format: idx, path: nowhere}", "--out", "c"}));
  CHECK(done.status == 3);
  CHECK_FALSE(fs::exists(here.folder / "c"));
}

}  // namespace dptrain::test
