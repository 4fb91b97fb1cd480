// How comparisons end: runs that fail, signals, kills, and --resume afterwards.
#include <doctest/doctest.h>

#include "apps/comparing.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

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

}  // namespace

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
                                              "faults.step_deadline=1",
                                              "--set",
                                              "drills=[{at_step: 1, replica: 1, do: stall}]"};
  const Finished late = here.dptrain(compare(arguments));
  CHECK(late.status == 4);
  const json comparison = json::parse(late.out);
  for (const char* mode : {"sync", "local_sgd"}) {
    const json run = mode_in(comparison, mode).at("runs").at(0);
    CHECK(run.at("exit_status") == 75);
    CHECK(has(run.at("error").get<std::string>(), "replica 1 has been at step 1 for more than 1 s"));
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

TEST_CASE("a signal before the first run has ended: --json prints a comparison of none") {
  const Workplace here;
  // While the data are made ready, and in the run itself.
  for (const std::string samples : {"3000000", "300"}) {
    CAPTURE(samples);
    const std::string out = "c" + samples;
    Process process(here.command(compare({"--modes", "sync", "--target", "1", "--set", "train.steps=100000000", "--out",
                                          out, "--json", "--set", "dataset.train_samples=" + samples})),
                    here.options());
    if (samples == "300")
      REQUIRE(eventually([&] { return has(read_text(here.folder / out / "sync-seed-1/metrics.jsonl"), "\"train\""); }));
    else
      REQUIRE(eventually([&] { return process.handles(SIGUSR1); }));  // the last of those it listens to
    process.signal(SIGTERM);
    const Finished stopped = process.wait();
    CHECK(stopped.status == 143);
    const json comparison = json::parse(stopped.out);
    CHECK(comparison.at("complete") == false);
    CHECK(comparison.at("reached") == false);
    CHECK(mode_in(comparison, "sync").at("runs").empty());
    CHECK(mode_in(comparison, "sync").at("seconds_to_target").at("median").is_null());
  }
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

}  // namespace dptrain::test
