// `dptrain compare`: its table, its object, its statuses, and what is refused before anything is trained.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

namespace {

std::vector<std::string> compare(const std::vector<std::string>& more) {
  std::vector<std::string> all{"compare", "job.yaml", "--quiet", "--set", "evaluate.every=2 steps"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("compare runs each mode with each seed and leaves their folders") {
  const Workplace here;
  const Finished done =
      here.dptrain(compare({"--modes", "sync", "--target", "0.01", "--seeds", "2", "--json", "--out", "runs/c"}));
  CHECK(done.status == 0);
  CHECK(done.err.empty());
  const auto json = nlohmann::json::parse(done.out);
  CHECK(json.at("reached") == true);
  CHECK(json.at("replicas") == 2);
  CHECK(json.at("modes").size() == 1);
  const auto& runs = json.at("modes").at(0).at("runs");
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
  CHECK(nlohmann::json::parse(read_text(here.folder / "runs/c/comparison.json")) == json);
}

TEST_CASE("compare takes the modes in turn, seed by seed; the job's own expectations do not count") {
  const Workplace here;
  const Finished done =
      here.dptrain({"compare", "job.yaml", "--modes", "sync,local_sgd", "--target", "0.01", "--seeds", "2", "--set",
                    "evaluate.every=8 steps", "--set", "expect.test_accuracy=1", "--out", "c", "--devices", "2"});
  CHECK(done.status == 0);
  CHECK(has(done.out, "sync          2 of 2"));
  CHECK(has(done.out, "local_sgd     2 of 2"));
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

TEST_CASE("a run that diverges misses the target and ends nothing else") {
  const Workplace here;
  const Finished done = here.dptrain(compare({"--modes", "sync", "--target", "0.01", "--seeds", "2", "--json", "--set",
                                              "train.optimizer.lr=1e30", "--out", "c"}));
  CHECK(done.status == 4);
  const auto runs = nlohmann::json::parse(done.out).at("modes").at(0).at("runs");
  REQUIRE(runs.size() == 2);
  CHECK(has(runs.at(1).at("error").get<std::string>(), "not finite"));
}

TEST_CASE("a signal ends a comparison with its status, the run that is going on after a checkpoint") {
  const Workplace here;
  Process process(
      here.command(compare({"--modes", "local_sgd", "--target", "1", "--set", "train.steps=100000000", "--out", "c"})),
      here.options());
  const fs::path run = here.folder / "c/local_sgd-seed-1";
  REQUIRE(eventually([&] { return has(read_text(run / "metrics.jsonl"), "\"train\""); }));
  process.signal(SIGTERM);
  const Finished stopped = process.wait();
  CHECK(stopped.status == 143);
  CHECK(stopped.out.empty());
  CHECK(here.summary("c/local_sgd-seed-1").at("status") == "stopped");
  CHECK(fs::exists(run / "checkpoints"));
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
  CHECK_FALSE(fs::exists(here.folder / "runs"));

  fs::create_directories(here.folder / "d");
  write_text(here.folder / "d/comparison.json", "mine");
  refusal({"--modes", "sync", "--target", "0.9", "--out", "d"}, "is there already");
  CHECK(read_text(here.folder / "d/comparison.json") == "mine");
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "c/sync-seed-1"}).status == 0);
  refusal({"--modes", "sync", "--target", "0.9", "--out", "c"}, "holds a run");
  CHECK(here.dptrain(compare({"--modes", "sync", "--target", "0.01", "--out", "c", "--fresh"})).status == 0);
}

}  // namespace dptrain::test
