// `mode: async` and `dptrain replay` through the binary: what is left, what is printed, and the statuses.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain::test {

using nlohmann::json;

TEST_CASE("a recorded run, its summary, and its replay at other numbers of replicas") {
  const Workplace here;
  const Finished done =
      here.dptrain({"job.yaml", "--mode", "async", "--set", "async={record: true, max_staleness: 3}", "--out", "run"});
  CHECK(done.status == 0);
  CHECK(has(done.out, "mode async: bits may differ from run to run"));
  CHECK(has(done.out, "gradients stale by "));
  const json summary = here.summary("run");
  CHECK(summary["mode"] == "async");
  CHECK(summary["reproducible"] == false);
  CHECK(summary["versions"] == 23);  // steps of 4, and one epoch's last of 3
  CHECK(summary["dropped"] == 0);
  CHECK(summary["staleness"]["max"] <= 3);
  CHECK(summary["staleness"]["histogram"].is_array());
  CHECK(has(read_text(here.folder / "run/metrics.jsonl"), "\"staleness\":{\"max\":"));
  for (const char* devices : {"1", "3"}) {
    const Finished replayed = here.dptrain({"replay", "run", "--offline", "--devices", devices});
    CHECK(replayed.status == 0);
    CHECK(has(replayed.out, "replayed        23 versions of 23 gradients (0 dropped)"));
    CHECK(has(replayed.out, "the bits of the run"));
  }
  const std::string kept = read_text(here.folder / "run/summary.json");
  std::string text = kept;
  text.replace(text.find("\"device_type\":\"cpu"), 18, "\"device_type\":\"cuda");
  write_text(here.folder / "run/summary.json", text);
  const Finished elsewhere = here.dptrain({"replay", "run"}, {{"CUDA_VISIBLE_DEVICES", ""}});
  CHECK(elsewhere.status == 2);
  CHECK(has(elsewhere.err, "the run was on GPUs, and none can be used here: "));
  text = kept;
  text.replace(text.find("\"weights_hash\":\"") + 16, 4, "0000");
  write_text(here.folder / "run/summary.json", text);
  const Finished other = here.dptrain({"replay", "run"});
  CHECK(other.status == 1);
  CHECK(has(other.out, "NOT those of the run"));
  CHECK_FALSE(has(other.out, "versions        "));
  text = read_text(here.folder / "run/summary.json");
  text.replace(text.find("\"weights_hash\":\"") + 16, 32, summary["weights_hash"].get<std::string>());
  text.replace(text.find("\"versions\":23"), 13, "\"versions\":24");
  write_text(here.folder / "run/summary.json", text);
  const Finished shorter = here.dptrain({"replay", "run"});
  CHECK(shorter.status == 1);
  CHECK(has(shorter.out, "versions        up to 23, NOT those of the run, up to 24"));
  CHECK(has(shorter.out, "the bits of the run"));
}

TEST_CASE("a recorded run from the weights of a file: stopped by a rehearsal, gone on with, and replayed") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "first"}).status == 0);
  fs::path weights;
  for (const auto& entry : fs::directory_iterator(here.folder / "first/checkpoints")) weights = entry.path();
  const std::vector<std::string> job = {"job.yaml",  "--quiet",
                                        "--mode",    "async",
                                        "--out",     "run",
                                        "--set",     "async.record=true",
                                        "--set",     "checkpoint.every=2 steps",
                                        "--devices", "1",  // of several, none need come to the step of its drill
                                        "--set",     "drills=[{at_step: 3, replica: 0, do: nan}]"};
  std::vector<std::string> begin = job, resume = job;
  begin.insert(begin.end(), {"--init-from", (weights / "model.safetensors").string()});
  resume.emplace_back("--resume");
  CHECK(here.dptrain(begin).status == 1);
  CHECK(has(read_text(here.folder / "run/metrics.jsonl"), R"({"event":"fault","kind":"not_finite","action":"stop")"));
  CHECK(here.dptrain(resume).status == 0);                             // it gets past the rehearsal
  std::vector<std::string> replay{"replay", "run", "--devices", "3"};  // its folder has the weights
  CHECK(has(here.dptrain(replay).out, "the bits of the run"));
  replay.insert(replay.end(), {"--init-from", (weights / "model.safetensors").string()});
  const Finished replayed = here.dptrain(replay);
  CHECK(replayed.status == 0);
  CHECK(has(replayed.out, "the bits of the run"));
}

TEST_CASE("a recorded run whose record is gone says from where it is recorded, and replayed") {
  const Workplace here;
  const std::vector<std::string> job = {"job.yaml", "--mode", "async", "--out", "run", "--set", "async.record=true"};
  std::vector<std::string> half = job, rest = job;
  half.insert(half.end(), {"--set", "train.steps=2"});
  rest.emplace_back("--resume");
  REQUIRE(here.dptrain(half).status == 0);
  fs::remove(here.folder / "run/async.record");
  const Finished resumed = here.dptrain(rest);
  CHECK(resumed.status == 0);
  CHECK(has(resumed.err, "async.record: what the run did before step 2 is not recorded: the record begins there"));
  const Finished replayed = here.dptrain({"replay", "run"});
  CHECK(replayed.status == 0);
  CHECK(has(replayed.out, "from step 2 on, where the record begins"));
}

TEST_CASE("a run with a damaged record goes on, and says what is wrong with it") {
  const std::vector<std::string> job = {"job.yaml", "--mode", "async", "--out", "run", "--set", "async.record=true"};
  std::vector<std::string> half = job, rest = job;
  half.insert(half.end(), {"--set", "train.steps=2"});
  rest.emplace_back("--resume");
  const Workplace stopped;
  REQUIRE(stopped.dptrain(half).status == 0);
  const std::string whole = read_text(stopped.folder / "run/async.record");
  for (const auto& [text, reason] : {std::pair{std::string(), std::string("async.record:1: the file is empty")},
                                     {"rubbish\n" + whole, "async.record:1: this is no record of a run"},
                                     {whole.substr(0, whole.find('\n') + 1), "version 1 is missing"}}) {
    const Workplace here;
    fs::copy(stopped.folder / "run", here.folder / "run", fs::copy_options::recursive);
    write_text(here.folder / "run/async.record", text);
    const Finished resumed = here.dptrain(rest);
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    CHECK(has(resumed.err, reason));
    CHECK(has(resumed.err, "what the run did before step 2 is not recorded: the record begins there"));
    CHECK(here.dptrain({"replay", "run"}).status == 0);
  }
}

TEST_CASE(
    "a recorded run that goes on with another cut, or another policy, begins a new record; a longer one keeps its "
    "own") {
  const std::vector<std::string> job = {"job.yaml",
                                        "--mode",
                                        "async",
                                        "--out",
                                        "run",
                                        "--set",
                                        "async.record=true",
                                        "--set",
                                        "reproducible=false",
                                        "--set",
                                        "train.micro_batch_size=auto"};
  std::vector<std::string> half = job, rest = job;
  half.insert(half.end(), {"--set", "train.steps=2", "--devices", "2"});
  rest.emplace_back("--resume");
  const Workplace stopped;
  REQUIRE(stopped.dptrain(half).status == 0);
  struct Case {
    std::vector<std::string> more;
    std::string reason;
  };
  for (const Case& c : {Case{{"--devices", "4"}, "it is of micro-batches of "},
                        Case{{"--devices", "2", "--set", "faults.on_nan=skip"}, "it is of another job"},
                        Case{{"--devices", "2"}, ""}}) {
    const Workplace here;
    fs::copy(stopped.folder / "run", here.folder / "run", fs::copy_options::recursive);
    std::vector<std::string> arguments = rest;
    arguments.insert(arguments.end(), c.more.begin(), c.more.end());
    const Finished resumed = here.dptrain(arguments);
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    if (!c.reason.empty()) CHECK(has(resumed.err, c.reason));
    CHECK(has(resumed.err, "the record begins there") == !c.reason.empty());
    for (const char* devices : {"1", "3"}) {
      const Finished replayed = here.dptrain({"replay", "run", "--devices", devices});
      INFO(replayed.err);
      CHECK(replayed.status == 0);
      CHECK(has(replayed.out, "from step 2 on") == !c.reason.empty());
    }
  }
}

TEST_CASE("replay says first that the run's bits rest on something else than it has") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--mode", "async", "--out", "run", "--set", "async.record=true"}).status == 0);
  CHECK_FALSE(has(here.dptrain({"replay", "run", "--devices", "3"}).out, "warning"));
  const fs::path run = here.folder / "run";
  RunState state = read_checkpoint(checkpoint_folder(run, 6)).snapshot.state;
  for (auto& [name, value] : state.basis)
    if (name == "compiler") value = "of another time";
  rewrite_state(run, state);
  std::string record = read_text(run / "async.record");
  record.replace(record.find("\"weights\":\"") + 11, 4, "zzzz");
  for (const int status : {0, 1}) {
    const Finished replayed = here.dptrain({"replay", "run"});
    CHECK(replayed.status == status);
    CHECK(
        replayed.out.starts_with("warning         the weights may not get the bits they had: the checkpoint rests on "
                                 "compiler of another time, this run on "));
    write_text(run / "async.record", record);
  }
}

TEST_CASE("replay refuses what cannot be replayed, with the reason") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "sync"}).status == 0);
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--mode", "async", "--out", "plain"}).status == 0);
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--mode", "async", "--set", "async.updates=hogwild", "--out", "hogwild"})
              .status == 0);
  for (const auto& [run, reason] : {std::pair{"sync", "replay is for async"},
                                    {"plain", "the run was not recorded"},
                                    {"hogwild", "a hogwild run cannot be replayed: its updates have no order"},
                                    {"nowhere", "holds no run"}}) {
    const Finished refused = here.dptrain({"replay", run});
    CHECK(refused.status == 2);
    CHECK(has(refused.err, reason));
  }
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--mode", "async", "--set", "async.record=true", "--out", "recorded"})
              .status == 0);
  const std::string whole = read_text(here.folder / "recorded/async.record");
  for (const auto& [text, reason] : {std::pair{std::string(), std::string("async.record:1: the file is empty")},
                                     {"rubbish\n" + whole, "async.record:1: this is no record of a run"},
                                     {whole + "5\n", ": this is no line of a record"}}) {
    write_text(here.folder / "recorded/async.record", text);
    const Finished refused = here.dptrain({"replay", "recorded"});
    INFO(refused.err);
    CHECK(refused.status == 1);
    CHECK(has(refused.err, reason));
    CHECK(has(refused.err, ": the run cannot be replayed"));
    CHECK_FALSE(has(refused.err, "remove it"));
  }
  const Finished verify = here.dptrain({"verify", "plain"});
  CHECK(verify.status == 2);
  CHECK(has(verify.err, "dptrain replay"));
}

TEST_CASE("check prints the plan of the mode, and refuses what it cannot do") {
  const Workplace here;
  const Finished plan = here.dptrain({"check", "job.yaml", "--mode", "async", "--set", "async.max_staleness=0"});
  CHECK(plan.status == 0);
  CHECK(has(plan.out, "versions        6 of 4 gradients each"));
  CHECK(has(plan.out, "staleness       at most 0"));
  CHECK(has(plan.out, "kB of losses at most"));
  CHECK_FALSE(has(plan.out, "same bits"));
  for (const char* command : {"check", ""}) {
    std::vector<std::string> arguments{"job.yaml", "--mode", "async", "--set", "faults.on_nan=rollback"};
    if (*command != 0) arguments.insert(arguments.begin(), command);
    const Finished refused = here.dptrain(arguments);
    CHECK(refused.status == 2);
    CHECK(has(refused.err, "rollback is for mode sync"));
  }
  CHECK_FALSE(fs::exists(here.folder / "runs/small"));
}

TEST_CASE("a signal ends an asynchronous run between steps, and --resume goes on") {
  const Workplace here;
  Process process(
      here.command({"job.yaml", "--json", "--out", "run", "--mode", "async", "--set", "train.steps=100000000"}),
      here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
  process.signal(SIGTERM);
  const Finished stopped = process.wait();
  CHECK(stopped.status == 143);
  const json summary = json::parse(stopped.out);
  CHECK(summary["status"] == "stopped");
  CHECK(summary["test_loss"].is_number());
  const std::int64_t steps = summary["steps"];
  CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps)) / "model.safetensors"));
  const Finished resumed = here.dptrain({"job.yaml", "--quiet", "--out", "run", "--mode", "async", "--resume", "--set",
                                         "train.steps=" + std::to_string(steps + 5)});
  CHECK(resumed.status == 0);
  CHECK(here.summary("run")["steps"] == steps + 5);
  CHECK(here.summary("run")["versions"] > summary["versions"]);
}

}  // namespace dptrain::test
