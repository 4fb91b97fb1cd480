// Modes local_sgd and async as several processes: the weights of one process where they are promised, records that
// replay, and one end for all.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <numeric>

#include "apps/mpirun.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

using Words = std::vector<std::string>;

// The last step of an epoch has fewer samples for each worker, and fewer micro-batches.
constexpr const char* mlp = R"(name: mlp
dataset: {name: digits, train_samples: 301, test_samples: 150}
model:
  input: [1, 28, 28]
  layers: [flatten, {linear: 40}, batch_norm, relu, {dropout: 0.1}, {linear: 10}]
train:
  {steps: 23, global_batch_size: 64, micro_batch_size: 8, clip_grad_norm: 1.0, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}}
devices: {type: cpu, count: 4}
evaluate: {every: 7 steps}
local_sgd: {workers: 5, sync_every: 4}
)";
constexpr const char* cnn = R"(name: cnn
dataset: {name: digits, train_samples: 110, test_samples: 70}
model:
  input: [1, 28, 28]
  layers: [{conv2d: {out_channels: 6, kernel_size: 3}}, batch_norm, relu, {max_pool2d: 2}, flatten, {linear: 10}]
train: {steps: 9, global_batch_size: 48, micro_batch_size: 8, optimizer: {name: adam, lr: 0.005}}
devices: {type: cpu, count: 4}
local_sgd: {workers: 4, sync_every: 2}
)";

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

const std::string kShared = "DPTRAIN_SHARED_MEMORY";

/// How many processes, and whether they share memory.
struct Case {
  int ranks;
  const char* shared;
};

}  // namespace

TEST_CASE("processes: local_sgd gives one hash, as 1 x 4, 2 x 2 and 4 x 1, whatever workers keep") {
  SKIP_WITHOUT_RANKS();
  const std::vector<std::pair<std::string, std::vector<Case>>> settings = {
      {"{workers: 5, sync_every: 4}", {{2, "on"}, {4, "on"}, {2, "off"}, {3, "off"}}},
      {"{workers: 4, sync_every: 3, worker_state: keep, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9, nesterov: "
       "true}}",
       {{4, "on"}, {4, "off"}}},
      {"{workers: 6, sync_every: 4, worker_state: reset, warmup_sync_steps: 5, outer_optimizer: {name: adam, lr: "
       "0.01}}",
       {{2, "on"}, {3, "off"}}}};
  for (const char* job : {mlp, cnn}) {
    for (const auto& [local, cases] : settings) {
      const Ranks here;
      write_text(here.folder / "job.yaml", job);
      const Words arguments = {"job.yaml", "--quiet", "--mode", "local_sgd", "--set", "local_sgd=" + local};
      const std::string whole = here.weights(here.dptrain(arguments + Words{"--out", "1"}), "1");
      for (const auto& [ranks, shared] : cases) {
        CAPTURE(local);
        CAPTURE(ranks);
        CAPTURE(shared);
        const std::string out = std::to_string(ranks) + shared;
        CHECK(here.weights(here.on(ranks, arguments + Words{"--out", out}, {{kShared, shared}}), out) == whole);
        for (const char* fact : {"test_loss", "final_loss", "replicas", "samples", "local_sgd"})
          CHECK(here.summary(out)[fact] == here.summary("1")[fact]);
      }
    }
  }
}

TEST_CASE("processes: a run in local_sgd, or in step by a staleness of 0, goes on with any number of them") {
  SKIP_WITHOUT_RANKS();
  const std::vector<Words> modes = {
      {"--mode", "local_sgd", "--set", "local_sgd={workers: 4, sync_every: 3, worker_state: keep}"},
      {"--mode", "async", "--set", "async.max_staleness=0"}};
  for (const Words& mode : modes) {
    const Ranks here;
    write_text(here.folder / "job.yaml", mlp);
    const Words arguments = Words{"job.yaml", "--quiet", "--resume"} + mode;
    const std::string whole = here.weights(here.dptrain(arguments + Words{"--out", "whole"}), "whole");
    const auto part = [&](const std::string& steps) {
      return arguments + Words{"--out", "run", "--set", "train.steps=" + steps};
    };
    CHECK(here.on(4, part("6"), {{kShared, "off"}}).status == 0);
    CHECK(here.dptrain(part("12")).status == 0);
    CHECK(here.on(3, part("15")).status == 0);
    const Finished last = here.on(2, part("23"), {{kShared, "off"}});
    CHECK(here.weights(last, "run") == whole);
    CHECK_FALSE(has(last.err, "may not get the bits"));
  }
}

TEST_CASE("processes: async with a staleness of 0 is sync, to the bit") {
  SKIP_WITHOUT_RANKS();
  for (const char* job : {mlp, cnn}) {
    const Ranks here;
    write_text(here.folder / "job.yaml", job);
    const std::string sync = here.weights(here.dptrain({"job.yaml", "--quiet", "--out", "sync"}), "sync");
    const Words arguments = {"job.yaml", "--quiet", "--mode", "async", "--set", "async.max_staleness=0"};
    for (const auto& [ranks, shared] : {Case{2, "on"}, Case{4, "on"}, Case{2, "off"}, Case{3, "off"}}) {
      CAPTURE(ranks);
      CAPTURE(shared);
      const std::string out = std::to_string(ranks) + shared;
      CHECK(here.weights(here.on(ranks, arguments + Words{"--out", out}, {{kShared, shared}}), out) == sync);
      CHECK(here.summary(out)["staleness"]["max"] == 0);
      CHECK(here.summary(out)["test_loss"] == here.summary("sync")["test_loss"]);
    }
    // Fewer shards than hosts: some keep none.
    for (const std::string shards : {"1", "2"}) {
      const Words few = arguments + Words{"--set", "async.shards=" + shards, "--out", "few" + shards};
      CHECK(here.weights(here.on(3, few, {{kShared, "off"}}), "few" + shards) == sync);
    }
  }
}

TEST_CASE(
    "processes: what was recorded in several of them replays to the same weights, and staleness is all replicas'") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", mlp);
  // 23 steps: 4 of 8 micro-batches and one of 6 an epoch.
  const std::int64_t micro_batches = 19 * 8 + 4 * 6;
  const std::vector<std::string> settings = {
      "{record: true, max_staleness: 2}", "{record: true, max_staleness: 3, on_stale: scale, updates_per_apply: 3}",
      "{record: true, max_staleness: 1, on_stale: drop}", "{record: true, fallback: {to: sync, if_loss_above: 0.01}}"};
  for (const std::string& setting : settings) {
    for (const auto& [ranks, shared] : {Case{2, "on"}, Case{4, "off"}}) {
      CAPTURE(setting);
      CAPTURE(ranks);
      const Words arguments = {"job.yaml", "--quiet", "--fresh", "--out",           "run",
                               "--mode",   "async",   "--set",   "async=" + setting};
      here.weights(here.on(ranks, arguments, {{kShared, shared}}), "run");
      const json summary = here.summary("run"), staleness = summary["staleness"];
      std::int64_t gradients = summary.value("dropped", std::int64_t{0});
      for (const json& count : staleness["histogram"]) gradients += count.get<std::int64_t>();
      CHECK(gradients == micro_batches);
      const Finished replayed = here.dptrain({"replay", "run"});
      INFO(replayed.out << replayed.err);
      CHECK(replayed.status == 0);
    }
  }
}

TEST_CASE("processes: hogwild, gradients that are left out, and a run that goes on in async with others") {
  SKIP_WITHOUT_RANKS();
  const Ranks here;
  write_text(here.folder / "job.yaml", mlp);
  const Words arguments = {"job.yaml", "--quiet", "--fresh", "--out", "run", "--mode", "async"};
  for (const std::string shared : {"on", "off"}) {
    here.weights(here.on(3, arguments + Words{"--set", "async={updates: hogwild}"}, {{kShared, shared}}), "run");
    // Long enough for every replica to come to a micro-batch after the drill's step.
    const Words left_out = {"--set", "train.steps=2000",
                            "--set", "faults.on_nan=skip",
                            "--set", "drills=[{at_step: 8, replica: 3, do: nan}]"};
    const Finished skipped = here.on(2, arguments + left_out, {{kShared, shared}});
    here.weights(skipped, "run");
    CHECK(here.summary("run")["faults"].size() == 1);
    CHECK_FALSE(has(skipped.err, "did not happen"));
  }
  const Words resumed = {"job.yaml", "--quiet", "--resume",         "--out", "parts", "--mode",
                         "async",    "--set",   "async.record=true"};
  CHECK(here.on(3, resumed + Words{"--set", "train.steps=9"}).status == 0);
  CHECK(here.on(2, resumed, {{kShared, "off"}}).status == 0);
  CHECK(here.dptrain({"replay", "parts"}).status == 0);
}

namespace {

Words endless(const std::string& mode) {
  return {"job.yaml",  "--quiet",
          "--out",     "run",
          "--mode",    mode,
          "--set",     "train.steps=100000000",
          "--devices", "3",
          "--set",     "local_sgd.workers=3",
          "--set",     "faults.step_deadline=5"};
}

}  // namespace

TEST_CASE("processes: a rank that is lost ends local_sgd and async, is named, and nobody is left") {
  SKIP_WITHOUT_RANKS();
  for (const std::string mode : {"local_sgd", "async"}) {
    for (const int signal : {SIGKILL, SIGSTOP}) {
      // As a process of the only host, and as one that has a part of what a host has.
      for (const auto& [culprit, shared] :
           std::vector<std::pair<std::size_t, std::string>>{{2, "on"}, {2, "off"}, {0, "off"}}) {
        if (mode == "local_sgd" && culprit == 2 && shared == "off") continue;
        CAPTURE(mode);
        CAPTURE(signal);
        CAPTURE(culprit);
        CAPTURE(shared);
        const Ranks here;
        RanksAtWork training(here, 3, endless(mode) + Words{"--set", "train.clip_grad_norm=1"}, {{kShared, shared}});
        ::kill(training.processes[culprit], signal);
        check_lost(training.launcher.wait(), culprit, signal);
        CHECK(training.all_gone());
      }
    }
  }
}

TEST_CASE("processes: a replica that throws, hangs or diverges ends local_sgd and async, and the rank is named") {
  SKIP_WITHOUT_RANKS();
  for (const std::string mode : {"local_sgd", "async"}) {
    for (const auto& [what, status] : {std::pair{"throw", 1}, {"stall", 75}, {"nan", 1}}) {
      for (const std::string replica : {"2", "0"}) {
        CAPTURE(mode);
        CAPTURE(what);
        CAPTURE(replica);
        const Ranks here;
        // In async a replica that comes late may have nothing to do at a step: then at a later one.
        std::string drills;
        for (int step = 3; step < 1900; step += 100)
          drills += fmt::format("{}{{at_step: {}, replica: {}, do: {}}}", step > 3 ? ", " : "", step, replica, what);
        const Finished ended =
            here.on(3, {"job.yaml", "--quiet", "--out", "run", "--devices", "3", "--mode", mode, "--set",
                        "local_sgd.workers=3", "--set", "faults.step_deadline=3", "--set", "train.steps=2000", "--set",
                        "evaluate.every=end", "--set", "drills=[" + drills + "]"});
        INFO(ended.err);
        CHECK(ended.status == status);
        CHECK(has(ended.err, "replica " + replica));
        CHECK(here.summary("run")["status"] == "failed");
      }
    }
  }
}

TEST_CASE("processes: a signal to one rank stops local_sgd and async where it can go on") {
  SKIP_WITHOUT_RANKS();
  const std::vector<Words> modes = {{"--mode", "local_sgd"}, {"--mode", "async", "--set", "async.max_staleness=0"}};
  for (const Words& mode : modes) {
    const Ranks here;
    RanksAtWork training(here, 2, endless("sync") + mode);
    ::kill(training.processes[1], SIGTERM);
    const Finished stopped = training.launcher.wait();
    INFO(stopped.err);
    CHECK(stopped.status == 128 + SIGTERM);
    CHECK(training.all_gone());
    CHECK(here.summary("run")["status"] == "stopped");
    const std::int64_t steps = here.summary("run")["steps"];
    CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps)) / "manifest.json"));
    const auto arguments = [&](const std::string& out) {
      return Words{"job.yaml",
                   "--quiet",
                   "--resume",
                   "--out",
                   out,
                   "--devices",
                   "3",
                   "--set",
                   "local_sgd.workers=3",
                   "--set",
                   "train.steps=" + std::to_string(steps + 8)} +
             mode;
    };
    CHECK(here.weights(here.on(2, arguments("run")), "run") == here.weights(here.dptrain(arguments("whole")), "whole"));
  }
}

}  // namespace dptrain::test
