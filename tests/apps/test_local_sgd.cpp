// `--mode local_sgd` with the built binary: its plan, its summary, signals, going on, verify.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

std::vector<std::string> local(const std::vector<std::string>& more) {
  std::vector<std::string> all{"job.yaml",
                               "--mode",
                               "local_sgd",
                               "--set",
                               "local_sgd={workers: 3, sync_every: 2}",
                               "--set",
                               "train.optimizer.momentum=0.9"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("local_sgd from the command line: the same weights at 1 to 3 replicas, and what the summary adds") {
  const Workplace here;
  std::string hash;
  for (const char* devices : {"1", "2", "3"}) {
    const Finished done = here.dptrain(local({"--json", "--out", "run", "--fresh", "--devices", devices}));
    REQUIRE(done.status == 0);
    const json summary = json::parse(done.out);
    for (const std::string& key : summary_keys) CHECK(summary.contains(key));
    CHECK(summary["mode"] == "local_sgd");
    CHECK(summary["local_sgd"] == json{{"workers", 3}, {"sync_every", 2}, {"averages", 3}});
    if (hash.empty()) hash = summary["weights_hash"];
    CHECK(summary["weights_hash"] == hash);
  }
  const Finished log = here.dptrain(local({"--out", "log"}));
  CHECK(has(log.out, "64 = 3 workers: 1 x 22 + 2 x 21, averaged every 2 steps, same bits at 1 to 3 replicas"));
  CHECK(has(log.out, "weights " + hash));
}

TEST_CASE("verify trains stretches of local_sgd again, at other numbers of replicas") {
  for (const std::string state : {"average", "keep", "reset"}) {
    const Workplace here;
    REQUIRE(here.dptrain(local({"--quiet", "--out", "run", "--set", "local_sgd.worker_state=" + state, "--set",
                                "checkpoint={every: 2 steps, keep: 5}"}))
                .status == 0);
    const Finished verified = here.dptrain({"verify", "run", "--all", "--devices", "3"});
    CHECK(verified.status == 0);
    CHECK(has(verified.out, "each used exactly once"));
    CHECK(has(verified.out, "steps           4 to 6 again on 3 replicas"));
    CHECK_FALSE(has(verified.out, "NOT"));
  }
}

TEST_CASE("check prints the plan of local_sgd") {
  const Workplace here;
  std::vector<std::string> arguments = local({"--set", "local_sgd.warmup_sync_steps=4"});
  arguments.insert(arguments.begin(), "check");
  const Finished done = here.dptrain(arguments);
  CHECK(done.status == 0);
  CHECK(has(done.out,
            "a step          64 = 3 workers: 1 x 22 + 2 x 21, in 6 micro-batches, same bits at 1 to 3 replicas"));
  CHECK(has(done.out, "the first 4 steps are synchronous"));
  CHECK(has(done.out, "workers: 2 + 1"));
  CHECK(has(done.out, "averaged        every 2 steps"));
  CHECK(has(done.out, "kB of losses and times of a round"));
  const auto a_replica = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = local(more);
    all.insert(all.begin(), "check");
    const std::string text = here.dptrain(all).out;
    const std::size_t at = text.find(" a replica: ");
    return text.substr(at, text.find('\n', at) - at);
  };
  // Warm-up has gradients and batches of its own.
  CHECK(has(a_replica({}), "2 buffers"));
  CHECK(has(a_replica({"--set", "local_sgd.warmup_sync_steps=4"}), "5 buffers"));
}

TEST_CASE("a signal ends local_sgd at an average, and the run goes on to the bits of one without it") {
  for (const std::string state : {"average", "keep"}) {
    const Workplace here;
    const auto arguments = [&](std::int64_t steps, const std::string& devices, const std::string& out) {
      return local({"--json", "--resume", "--out", out, "--devices", devices, "--set",
                    "local_sgd.worker_state=" + state, "--set", "train.steps=" + std::to_string(steps)});
    };
    Process process(here.command(arguments(100000000, "3", "run")), here.options());
    REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
    process.signal(SIGTERM);
    const Finished stopped = process.wait();
    CHECK(stopped.status == 143);
    const json summary = json::parse(stopped.out);
    CHECK(summary["status"] == "stopped");
    const std::int64_t steps = summary["steps"];
    CHECK(steps % 2 == 0);
    CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps)) / "model.safetensors"));
    const Finished resumed = here.dptrain(arguments(steps + 5, "1", "run"));
    const Finished whole = here.dptrain(arguments(steps + 5, "2", "whole"));
    CHECK(resumed.status == 0);
    CHECK(whole.status == 0);
    CHECK(json::parse(resumed.out)["weights_hash"] == json::parse(whole.out)["weights_hash"]);
  }
}

TEST_CASE("a signal in a long round: the log says where the run stops") {
  const Workplace here;
  Process process(here.command(local({"--out", "run", "--set", "local_sgd.sync_every=3000", "--set", "train.steps=6000",
                                      "--set", "drills=[{at_step: 1, replica: 0, do: stall, seconds: 1}]"})),
                  here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"start\""); }));
  process.signal(SIGTERM);
  const Finished stopped = process.wait();
  CHECK(stopped.status == 143);
  CHECK(has(stopped.err, "stops after step 3000, where the workers' average is taken"));
  CHECK(here.summary("run")["steps"] == 3000);
}

TEST_CASE("a run that ended inside a round and is made longer says that it is not one in one piece") {
  const Workplace here;
  REQUIRE(here.dptrain(local({"--out", "run", "--set", "train.steps=3"})).status == 0);
  const Finished longer = here.dptrain(local({"--out", "run", "--resume", "--set", "train.steps=7"}));
  CHECK(longer.status == 0);
  CHECK(has(longer.err, "the weights will not get the bits of a run of 7 steps in one piece"));
  CHECK(has(longer.err, "after step 3, and that is between those after steps 2 and 4"));
  CHECK(here.summary("run")["local_sgd"]["averages"] == 5);  // after 2, 3, 4, 6 and 7 steps
  REQUIRE(here.dptrain(local({"--out", "even", "--set", "train.steps=4"})).status == 0);
  const Finished even = here.dptrain(local({"--out", "even", "--resume", "--set", "train.steps=7"}));
  CHECK_FALSE(has(even.err, "in one piece"));
}

TEST_CASE("a run of local_sgd does not go on with other settings of the mode") {
  const Workplace here;
  REQUIRE(here.dptrain(local({"--quiet", "--out", "run"})).status == 0);
  const Finished other = here.dptrain(local({"--resume", "--out", "run", "--set", "local_sgd.sync_every=3"}));
  CHECK(other.status == 2);
  CHECK(has(other.err, "sync_every: 2"));
}

TEST_CASE("more replicas than workers: refused, with the way out") {
  const Workplace here;
  const Finished done = here.dptrain(local({"--devices", "4"}));
  CHECK(done.status == 2);
  CHECK(has(done.err, "4 replicas, but local_sgd.workers is 3"));
  CHECK(has(done.err, "set local_sgd.workers to 4"));
}

}  // namespace dptrain::test
