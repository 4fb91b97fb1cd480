// `dptrain compare`: its table, its object, its statuses, settings by mode, runs that fail, and what is refused before anything is
// trained.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

namespace {

using nlohmann::json;

/// The mode's part of a comparison's object.
json mode_in(const json& comparison, const std::string& mode) {
  for (const json& each : comparison.at("modes")) {
    if (each.at("mode") == mode) return each;
  }
  throw std::runtime_error("no such mode");
}

/// The process that `parent` has started; 0 while there is none.
pid_t child_of(const Process& parent) {
  const std::string id = std::to_string(parent.id());
  const std::string children = read_text("/proc/" + id + "/task/" + id + "/children");
  return children.empty() ? 0 : static_cast<pid_t>(std::stol(children));
}

/// Whether the process is there and not merely waiting to be reaped.
bool is_alive(pid_t id) {
  const std::string stat = read_text("/proc/" + std::to_string(id) + "/stat");
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

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

TEST_CASE("a run that diverges does not reach the target and ends nothing else") {
  const Workplace here;
  const Finished done = here.dptrain(compare({"--modes", "async,sync", "--target", "0.01", "--seeds", "2", "--set",
                                              "async.train.optimizer.lr=1e30", "--out", "c"}));
  CHECK(done.status == 4);
  CHECK(has(done.out, "async       0 of 2"));
  CHECK(has(done.out, "sync        2 of 2"));
  CHECK(has(done.out, "async, seed 2: failed with status 1: "));
  const json comparison = json::parse(read_text(here.folder / "c/comparison.json"));
  CHECK(comparison.at("complete") == true);
  CHECK(comparison.at("reached") == false);
  const json async = mode_in(comparison, "async");
  CHECK(async.at("failed") == 2);
  REQUIRE(async.at("runs").size() == 2);
  CHECK(async.at("runs").at(1).at("exit_status") == 1);
  CHECK(has(async.at("runs").at(1).at("error").get<std::string>(), "not finite"));
  CHECK(async.at("runs").at(1).at("test_accuracy").is_null());
  CHECK(mode_in(comparison, "sync").at("reached") == 2);
}

TEST_CASE("a replica past its deadline fails its run and not the comparison; --resume tries that again") {
  const Workplace here;
  const std::vector<std::string> arguments = {"--modes",
                                              "sync,local_sgd",
                                              "--target",
                                              "0.01",
                                              "--seeds",
                                              "1",
                                              "--out",
                                              "c",
                                              "--json",
                                              "--set",
                                              "faults.step_deadline=0.3",
                                              "--set",
                                              "drills=[{at_step: 1, replica: 1, do: stall}]"};
  const Finished late = here.dptrain(compare(arguments));
  CHECK(late.status == 4);
  const json comparison = json::parse(late.out);
  for (const char* mode : {"sync", "local_sgd"}) {
    const json run = mode_in(comparison, mode).at("runs").at(0);
    CHECK(run.at("exit_status") == 75);
    CHECK(has(run.at("error").get<std::string>(), "replica 1 has been at step 1 for more than 0.3 s"));
  }
  std::vector<std::string> again = arguments;
  again.emplace_back("--resume");
  const Finished retried = here.dptrain(compare(again));
  CHECK(retried.status == 0);
  const json run = mode_in(json::parse(retried.out), "sync").at("runs").at(0);
  CHECK(run.at("reached") == true);
  CHECK(run.at("error").is_null());
  CHECK(run.at("parts") == 2);
}

TEST_CASE("a run whose process is killed fails, and the others go on") {
  const Workplace here;
  Process process(here.command(compare({"--modes", "local_sgd,sync", "--target", "1", "--seeds", "1", "--set",
                                        "local_sgd.train.steps=100000000", "--out", "c", "--json"})),
                  here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "c/local_sgd-seed-1/metrics.jsonl"), "\"train\""); }));
  const pid_t child = child_of(process);
  REQUIRE(child > 0);
  ::kill(child, SIGKILL);
  const Finished done = process.wait();
  CHECK(done.status == 4);
  const json comparison = json::parse(done.out);
  const json run = mode_in(comparison, "local_sgd").at("runs").at(0);
  CHECK(run.at("exit_status") == 137);
  CHECK(has(run.at("error").get<std::string>(), "ended by signal 9"));
  CHECK(mode_in(comparison, "sync").at("runs").at(0).at("exit_status") == 4);
}

TEST_CASE("a comparison that is killed takes its run with it") {
  const Workplace here;
  Process process(
      here.command(compare({"--modes", "sync", "--target", "1", "--set", "train.steps=100000000", "--out", "c"})),
      here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "c/sync-seed-1/metrics.jsonl"), "\"train\""); }));
  const pid_t child = child_of(process);
  REQUIRE(child > 0);
  process.signal(SIGKILL);
  CHECK(process.wait().status == 137);
  CHECK(eventually([&] { return !is_alive(child); }));
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
  CHECK(has(read_text(here.folder / "c/sync-seed-1/job.yaml"), "evaluate: {every: 3 steps}"));
}

TEST_CASE("--resume does not repeat what is complete, adds seeds, and goes on with a run for a higher target") {
  const Workplace here;
  const auto resumed = [&](const std::string& seeds, const std::string& target, const std::string& flag) {
    const Finished done =
        here.dptrain(compare({"--modes", "sync", "--target", target, "--seeds", seeds, "--json", "--out", "c", flag}));
    CHECK_MESSAGE(done.err.empty(), done.err);
    json comparison = json::parse(done.out);
    comparison["status"] = done.status;
    return comparison;
  };
  const json first = resumed("1", "0.01", "--resume");  // there is none yet
  CHECK(first.at("status") == 0);
  const std::string metrics = read_text(here.folder / "c/sync-seed-1/metrics.jsonl");
  const json second = resumed("2", "0.01", "--resume");
  CHECK(second.at("status") == 0);
  CHECK(mode_in(second, "sync").at("runs").at(0) == mode_in(first, "sync").at("runs").at(0));
  CHECK(mode_in(second, "sync").at("runs").size() == 2);
  CHECK(read_text(here.folder / "c/sync-seed-1/metrics.jsonl") == metrics);

  const json third = resumed("1", "1", "--resume");
  CHECK(third.at("status") == 4);
  const json run = mode_in(third, "sync").at("runs").at(0);
  CHECK(run.at("step") == 6);
  CHECK(run.at("parts") == 2);
  const Finished whole = here.dptrain({"job.yaml", "--json", "--out", "whole"});
  CHECK(run.at("weights_hash") == json::parse(whole.out).at("weights_hash"));
  const json fourth = resumed("1", "1", "--resume");  // it was at its end
  CHECK(mode_in(fourth, "sync").at("runs").at(0) == run);
  // A lower one was reached on the way.
  const json fifth = resumed("1", "0.01", "--resume");
  CHECK(fifth.at("status") == 0);
  CHECK(mode_in(fifth, "sync").at("runs").at(0).at("step") == 2);
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

TEST_CASE("a signal in a later run leaves what is known, and --resume ends the comparison") {
  const Workplace here;
  const std::vector<std::string> arguments = {
      "compare", "job.yaml", "--modes", "sync,local_sgd",         "--target", "1",
      "--seeds", "1",        "--set",   "evaluate.every=8 steps", "--set",    "local_sgd.train.steps=100000000",
      "--out",   "c",        "--json"};
  Process process(here.command(arguments), here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "c/local_sgd-seed-1/metrics.jsonl"), "\"evaluate\""); }));
  process.signal(SIGINT);
  const Finished stopped = process.wait();
  CHECK(stopped.status == 130);
  CHECK(has(stopped.err, "ended by a signal after 1 of 2 runs; the same command with --out c --resume goes on"));
  const json comparison = json::parse(stopped.out);
  CHECK(comparison.at("complete") == false);
  CHECK(comparison.at("reached") == false);
  CHECK(mode_in(comparison, "sync").at("runs").size() == 1);
  CHECK(mode_in(comparison, "local_sgd").at("runs").empty());
  CHECK(json::parse(read_text(here.folder / "c/comparison.json")) == comparison);
  CHECK(here.summary("c/local_sgd-seed-1").at("status") == "stopped");

  std::vector<std::string> again = arguments;
  again[5] = "0.01";  // both have been there
  again.emplace_back("--resume");
  const Finished done = here.dptrain(again);
  CHECK(done.status == 0);
  CHECK(json::parse(done.out).at("complete") == true);
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
  refusal({"--modes", "sync,async", "--target", "0.9", "--set", "faults.on_nan=rollback"}, "on_nan");
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

TEST_CASE("a dataset that is missing ends a comparison with its status") {
  const Workplace here;
  const Finished done = here.dptrain(
      compare({"--modes", "sync", "--target", "0.9", "--set", "dataset={format: idx, path: nowhere}", "--out", "c"}));
  CHECK(done.status == 3);
  CHECK_FALSE(fs::exists(here.folder / "c"));
}

TEST_CASE("training to a target: 0 where it is reached, 4 where it is not, and --resume knows") {
  const Workplace here;
  const auto train = [&](const std::string& target, const std::vector<std::string>& more) {
    std::vector<std::string> all{"job.yaml", "--target", target, "--set", "evaluate.every=2 steps", "--out", "run"};
    all.insert(all.end(), more.begin(), more.end());
    return here.dptrain(all);
  };
  const Finished reached = train("0.01", {"--set", "expect.test_accuracy=1"});
  CHECK(reached.status == 0);
  CHECK(has(reached.out + reached.err, "reached 1%: "));
  CHECK(here.summary("run").at("status") == "stopped");
  CHECK(here.summary("run").at("steps") == 2);
  const Finished again = train("0.01", {"--resume", "--json"});
  CHECK(again.status == 0);
  CHECK(json::parse(again.out) == here.summary("run"));
  const Finished missed = train("1", {"--resume"});
  CHECK(missed.status == 4);
  CHECK(has(missed.out + missed.err, "missed 100%: "));
  CHECK(here.summary("run").at("status") == "done");
  CHECK(here.summary("run").at("steps") == 6);
  CHECK(train("1", {"--resume"}).status == 4);
  CHECK(train("0.01", {"--resume"}).status == 0);
  CHECK(train("98.5", {"--fresh"}).status == 2);
  CHECK(train("high", {"--fresh"}).status == 2);
}

}  // namespace dptrain::test
