// Exit statuses and messages of wrong use, and the commands beside training, through the built binary.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"
#include "kernels/kernels.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

/// A descriptor whose files are nowhere: MNIST's, by another name.
void describe_absent_dataset(const Workplace& here) {
  std::string text = read_text(DPTRAIN_SOURCE_DIR "/datasets/mnist.yaml");
  const std::size_t at = text.find("name: mnist");
  REQUIRE(at != std::string::npos);
  text.replace(at, 11, "name: absent");
  fs::create_directories(here.folder / "descriptors");
  write_text(here.folder / "descriptors/absent.yaml", text);
}

/// One that this processor has, whatever the config asks for.
void add_precision(std::vector<std::string>& arguments) {
  if (!cpu_lacks(ElementType::bfloat16).empty()) arguments.insert(arguments.end(), {"--set", "train.precision=fp32"});
}

}  // namespace

TEST_CASE("4: `expect` not met; the object is printed all the same") {
  const Workplace here;
  const Finished done = here.dptrain({"job.yaml", "--json", "--set", "expect.test_accuracy=1.0"});
  CHECK(done.status == 4);
  CHECK(json::parse(done.out)["status"] == "expect_not_met");
  CHECK(has(done.err, "is below the 100% that expect.test_accuracy asks for"));
  const Finished log = here.dptrain({"job.yaml", "--set", "expect.test_accuracy=1.0"});
  CHECK(log.status == 4);
  CHECK(has(log.err, "is below the 100% that expect.test_accuracy asks for"));
  CHECK_FALSE(has(log.out, "done"));
  CHECK(here.dptrain({"job.yaml", "--quiet", "--set", "expect.test_accuracy=0.0"}).status == 0);
}

TEST_CASE("1: the loss is not finite; the object is printed all the same, and the folder says how the run ended") {
  const Workplace here;
  const Finished failed = here.dptrain({"job.yaml", "--json", "--out", "run", "--set", "train.optimizer.lr=1e30"});
  const json summary = here.summary("run");
  CHECK(summary["status"] == "failed");
  CHECK(summary["final_loss"].is_null());
  CHECK(summary["parameters"] == 784 * 16 + 16 + 16 * 10 + 10);
  CHECK(has(failed.err, "not finite at step " + summary["steps"].dump() + " "));
  const std::string metrics = read_text(here.folder / "run/metrics.jsonl");
  CHECK(has(metrics, R"({"event":"end","status":"failed","step":)" + summary["steps"].dump()));
  CHECK(failed.status == 1);
  CHECK(failed.out == read_text(here.folder / "run/summary.json"));
  CHECK(has(summary["error"], "not finite at step"));
}

TEST_CASE("1: a run that fails before its first step says so with --json") {
  const Workplace here;
  fs::create_directories(here.folder / "run/.job.yaml.new");  // in the way of what it writes first
  const Finished failed = here.dptrain({"job.yaml", "--json", "--out", "run"});
  CHECK(failed.status == 1);
  const json summary = json::parse(failed.out);
  CHECK(summary["status"] == "failed");
  CHECK(has(failed.err, summary["error"]));
  CHECK(has(summary["error"], "job.yaml"));
  CHECK(summary["steps"] == 0);
  for (const std::string& key : summary_keys) CHECK_MESSAGE(summary.contains(key), key);
}

TEST_CASE(
    "75: a replica past the step deadline, by its name; the folder says so, and the run goes on from its checkpoint") {
  const Workplace here;
  const std::vector<std::string> job = {"job.yaml", "--out", "run", "--quiet", "--set", "checkpoint.every=2 steps"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), job.begin(), job.end());
    return here.dptrain(more);
  };
  const Finished late =
      with({"--json", "--set", "faults.step_deadline=0.2", "--set", "drills=[{at_step: 4, replica: 1, do: stall}]"});
  CHECK(late.status == 75);
  CHECK(has(late.err, "replica 1 has been at step 4 for more than 0.2 s (faults.step_deadline)"));
  const json summary = here.summary("run");
  CHECK(late.out == read_text(here.folder / "run/summary.json"));
  CHECK(has(summary["error"], "replica 1 has been at step 4"));
  CHECK(summary["status"] == "failed");
  REQUIRE(summary["faults"].size() == 1);
  CHECK(summary["faults"][0]["kind"] == "deadline");
  CHECK(summary["faults"][0]["replica"] == 1);
  CHECK(has(read_text(here.folder / "run/metrics.jsonl"), R"({"event":"fault","kind":"deadline")"));
  // A retry gets past the rehearsal, and knows of it.
  CHECK(
      with({"--resume", "--set", "faults.step_deadline=1000", "--set", "drills=[{at_step: 4, replica: 1, do: stall}]"})
          .status == 0);
  const json retried = here.summary("run");
  REQUIRE(retried["faults"].size() == 1);
  CHECK(retried["faults"][0]["kind"] == "deadline");
  CHECK(retried["faults"][0]["recovery_seconds"] > 0);
  const std::string resumed = retried["weights_hash"];
  CHECK(here.dptrain({"job.yaml", "--out", "whole", "--quiet"}).status == 0);
  CHECK(here.summary("whole")["weights_hash"] == resumed);
}

TEST_CASE("2: usage and job spec, each with a message that helps, and nothing trained or left") {
  const Workplace here;
  struct Wrong {
    std::vector<std::string> arguments;
    std::vector<std::string> said;
  };
  const std::vector<Wrong> all = {
      {{}, {"no job spec"}},
      {{"nowhere.yaml"}, {"nowhere.yaml"}},
      {{"chekc", "job.yaml"}, {"no command and no file is called 'chekc'; did you mean 'check'?"}},
      {{"dta", "list"}, {"'dta'; did you mean 'data'?"}},
      {{"job.yaml", "--nonsense"}, {"--nonsense", "--help"}},
      {{"job.yaml", "--devices", "5"}, {"5 replicas", "set devices.count to 4 or below"}},
      {{"job.yaml", "--devices", "3", "--set", "dataset.train_samples=20"},
       {"3 replicas for 2 micro-batches", "at most 2 devices"}},
      {{"job.yaml", "--devices", "0"}, {"--devices"}},
      {{"job.yaml", "--devices", "two"}, {"--devices", "two"}},
      {{"job.yaml", "--mode", "asink"}, {"--mode", "sync"}},
      {{"job.yaml", "--seed", "-1"}, {"--seed"}},
      {{"job.yaml", "--set", "train.stepz=3"}, {"stepz", "steps"}},
      {{"job.yaml", "--set", "train.steps=many"}, {"train.steps", "many"}},
      {{"job.yaml", "--set", "train.steps"}, {"key.path=value"}},
      {{"job.yaml", "--set", "dataset.name=digitz"}, {"digitz", "digits"}},
      {{"job.yaml", "--set", "model.layers.3.linear=7"}, {"7", "10 classes"}},
      {{"job.yaml", "--set", "model.input=[1, 14, 14]"}, {"model.input"}},
      {{"check", "job.yaml", "--devices", "5"}, {"set devices.count to 4 or below"}},
      {{"job.yaml", "--set", "drills=[{at_step: 1, replica: 0, do: stall}]"}, {"lasts for ever", "step_deadline"}},
      {{"check", "job.yaml", "--set", "drills=[{at_step: 1, replica: 0, do: stall}]"}, {"lasts for ever"}},
      {{"job.yaml", "--out", ""}, {"--out: the value is empty"}},
      {{"job.yaml", "--init-from", ""}, {"--init-from: the value is empty"}},
      {{"job.yaml", "--target", ""}, {"--target"}},
      {{"job.yaml", "--devices", ""}, {"--devices: the value is empty"}},
      {{"job.yaml", "--seed", ""}, {"--seed: the value is empty"}},
      {{"job.yaml", "--mode", ""}, {"--mode: the value is empty"}},
      {{"job.yaml", "--set", ""}, {"--set: the value is empty"}},
      {{""}, {"JOB: the value is empty"}},
      {{"check", "job.yaml", "--gpus", ""}, {"--gpus: the value is empty"}},
      {{"plan", "job.yaml", "--link", ""}, {"--link: the value is empty"}},
      {{"plan", "job.yaml", "--devices", ""}, {"--devices: the value is empty"}},
      {{"verify", "run", "--steps", ""}, {"--steps: the value is empty"}},
      {{"verify", ""}, {"RUN: the value is empty"}},
      {{"replay", "run", "--init-from", ""}, {"--init-from: the value is empty"}},
      {{"compare", "job.yaml", "--target", "0.9", "--out", ""}, {"--out: the value is empty"}},
      {{"compare", "job.yaml", "--target", "0.9", "--modes", ""}, {"--modes: the value is empty"}},
      {{"check"}, {"JOB"}},
      {{"data"}, {"subcommand"}},
      {{"data", "info", "digitz"}, {"digitz", "digits"}},
      {{"data", "fetch", "digitz", "--offline"}, {"digitz"}},
  };
  for (const Wrong& wrong : all) {
    const Finished refused = here.dptrain(wrong.arguments);
    INFO(json(wrong.arguments).dump());
    INFO(refused.err);
    CHECK(refused.status == 2);
    CHECK(refused.out.empty());
    for (const std::string& part : wrong.said) CHECK_MESSAGE(has(refused.err, part), part);
  }
  CHECK_FALSE(fs::exists(here.folder / "runs"));
}

TEST_CASE("2: GPUs asked for where none is visible: what is missing and how to go on, for training and for check") {
  const Workplace here;
  const std::map<std::string, std::string> hidden = {{"CUDA_VISIBLE_DEVICES", ""}};  // where there are GPUs
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"job.yaml", "--gpus", "1"},
                                                    {"check", "job.yaml", "--gpus", "1"},
                                                    {"job.yaml", "--gpus", "1", "--set", "train.precision=tf32"},
                                                    {"job.yaml", "--set", "devices={type: cuda}"}}) {
    const Finished refused = here.dptrain(arguments, hidden);
    INFO(json(arguments).dump());
    INFO(refused.err);
    CHECK(refused.status == 2);
    CHECK(refused.out.empty());
    CHECK(has(refused.err, "the job asks for GPUs, and none can be used: "));
    CHECK(has(refused.err, "  hint: "));
    CHECK(has(refused.err, "; for CPU cores: --set devices.type=cpu --devices N"));
  }
  const Finished tf32 = here.dptrain({"job.yaml", "--set", "train.precision=tf32"}, hidden);
  CHECK(tf32.status == 2);
  CHECK(has(tf32.err, "--set train.precision=tf32: error: train.precision: tf32 is for GPUs"));
  const Finished fp16 = here.dptrain({"check", "job.yaml", "--set", "train.precision=fp16"}, hidden);
  CHECK(fp16.status == 2);
  CHECK(has(fp16.err, "train.precision: fp16 is for GPUs, and the replicas are on the CPU"));
  CHECK(has(fp16.err, "hint: use "));
  const Finished halves =
      here.dptrain({"check", "job.yaml", "--set", "train.communication=bf16", "--set", "reproducible=false"}, hidden);
  CHECK(halves.status == 2);
  CHECK(has(halves.err, "train.communication: bf16 is what gradients travel in between GPUs"));
  const Finished scale = here.dptrain({"check", "job.yaml", "--set", "train.loss_scale=3"}, hidden);
  CHECK(scale.status == 2);
  CHECK_FALSE(fs::exists(here.folder / "runs"));
}

TEST_CASE("2: bf16 where the CPU has no instructions for it") {
  const Workplace here;
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"job.yaml", "--devices", "1"}, {"check", "job.yaml", "--devices", "1"}}) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--set", "train.precision=bf16", "--set", "devices.type=cpu"});
    const Finished refused = here.dptrain(all, {{"ONEDNN_MAX_CPU_ISA", "AVX2"}});
    INFO(refused.err);
    CHECK(refused.status == 2);
    CHECK(has(refused.err, "train.precision: bf16 cannot be had: this CPU has no bf16 instructions"));
    CHECK(has(refused.err, "hint: use fp32"));
  }
  CHECK_FALSE(fs::exists(here.folder / "runs"));
}

TEST_CASE("type auto runs on CPU cores where no GPU is visible, and check says so") {
  const Workplace here;
  const std::map<std::string, std::string> hidden = {{"CUDA_VISIBLE_DEVICES", ""}};
  const Finished checked = here.dptrain({"check", "job.yaml", "--set", "devices.type=auto"}, hidden);
  INFO(checked.err);
  CHECK(checked.status == 0);
  CHECK(has(checked.out, "2 on the CPU, 1 thread each"));
  const Finished done =
      here.dptrain({"job.yaml", "--json", "--set", "devices={type: auto, count: 2, share: true}"}, hidden);
  CHECK(done.status == 0);
  CHECK(json::parse(done.out)["device_type"] == "cpu");
}

TEST_CASE("the header and check tell how a step is cut where the training set is smaller than the global batch") {
  const Workplace here;
  const std::vector<std::string> large = {"--set", "train.global_batch_size=1000"};
  for (const char* command : {"check", ""}) {
    std::vector<std::string> arguments = {"job.yaml"};
    if (*command != '\0') arguments.insert(arguments.begin(), command);
    arguments.insert(arguments.end(), large.begin(), large.end());
    const Finished done = here.dptrain(arguments);
    CHECK(done.status == 0);
    CHECK(has(done.out, "300 = 19 micro-batches: 15 x 16 + 4 x 15, same bits at 1 to 19 replicas"));
    CHECK_FALSE(has(done.out, "1,000 = "));
  }
}

TEST_CASE("3: a dataset that is not there, with --offline: every place tried and the ways out; no run folder is left") {
  const Workplace here;
  describe_absent_dataset(here);
  const std::map<std::string, std::string> environment = {{"DPTRAIN_DATASETS", (here.folder / "descriptors").string()},
                                                          {"DPTRAIN_DATA", (here.folder / "data").string()}};
  const Finished missing =
      here.dptrain({"job.yaml", "--json", "--offline", "--out", "run", "--set", "dataset={name: absent}"}, environment);
  CHECK(missing.status == 3);
  CHECK(missing.out.empty());
  CHECK(has(missing.err, (here.folder / "data/absent").string()));
  CHECK(has(missing.err, (here.folder / "cache").string()));
  CHECK_FALSE(fs::exists(here.folder / "run"));
  CHECK(here.dptrain({"data", "fetch", "absent", "--offline"}, environment).status == 3);
  const Finished info = here.dptrain({"data", "info", "absent"}, environment);
  CHECK(info.status == 3);
  CHECK(has(info.out, "60000"));
  const Finished list = here.dptrain({"data", "list"}, environment);
  CHECK(list.status == 0);
  CHECK(has(list.out, "absent"));
  CHECK(has(list.out, "not on this machine"));
}

TEST_CASE("with neither HOME nor XDG_CACHE_HOME all works that downloads nothing") {
  const Workplace here;
  const std::vector<std::string> bare = {"env", "-i", DPTRAIN_BINARY};
  const auto dptrain = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> all = bare;
    all.insert(all.end(), arguments.begin(), arguments.end());
    return run(all, {.folder = here.folder.path()});
  };
  const Finished list = dptrain({"data", "list"});
  CHECK(list.status == 0);
  CHECK(has(list.out, "mnist"));
  CHECK(dptrain({"job.yaml", "--json"}).status == 0);
  const Finished fetch = dptrain({"data", "fetch", "mnist"});
  CHECK(fetch.status == 3);
  CHECK(has(fetch.err, "no place for downloaded datasets"));
}

TEST_CASE("quickstart trains on MNIST where it lies in DPTRAIN_DATA and nothing is in the cache") {
  if (std::getenv("DPTRAIN_DATA") == nullptr) {
    MESSAGE("skipped: DPTRAIN_DATA is not set");
    return;
  }
  const Workplace here;
  fs::create_directories(here.folder / "home");
  const Finished done =
      run({DPTRAIN_SOURCE_DIR "/scripts/quickstart", "--no-install", "--offline", "--json", "--set", "train.steps=3",
           "--set", "expect={}", "--set", "dataset.train_samples=600", "--set", "dataset.test_samples=100"},
          here.options({{"DPTRAIN_BINARY", DPTRAIN_BINARY}, {"HOME", (here.folder / "home").string()}}));
  INFO(done.err);
  REQUIRE(done.status == 0);
  CHECK(json::parse(done.out)["dataset"] == "mnist");
}

TEST_CASE("data list and info of generated digits; --help and --version") {
  const Workplace here;
  const Finished list = here.dptrain({"data", "list"});
  CHECK(list.status == 0);
  CHECK(has(list.out, "digits"));
  CHECK(has(list.out, "mnist"));
  const Finished info = here.dptrain({"data", "info", "digits"});
  CHECK(info.status == 0);
  CHECK(has(info.out, "10 classes"));
  CHECK(here.dptrain({"--version"}).out.starts_with("dptrain "));
  const Finished help = here.dptrain({"--help"});
  CHECK(help.status == 0);
  CHECK(has(help.out, "Exit status"));
}

TEST_CASE(
    "check: every shipped config is valid; the plan names layers, parameters and micro-batches; nothing is left") {
  const Workplace here;
  int configs = 0;
  for (const auto& entry : fs::directory_iterator(DPTRAIN_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++configs;
    std::vector<std::string> arguments = {"check", entry.path().string(), "--devices", "1"};
    add_precision(arguments);
    const Finished checked = here.dptrain(arguments);
    INFO(entry.path().string());
    INFO(checked.err);
    CHECK(checked.status == 0);
    for (const char* part : {"linear", "parameters", "micro-batches", "memory"})
      CHECK_MESSAGE(has(checked.out, part), part);
  }
  CHECK(configs >= 4);
  CHECK_FALSE(fs::exists(here.folder / "runs"));
}

TEST_CASE("every shipped config trains for three steps") {
  const Workplace here;
  for (const auto& entry : fs::directory_iterator(DPTRAIN_SOURCE_DIR "/configs")) {
    const fs::path config = entry.path();
    if (config.extension() != ".yaml") continue;
    const bool generated = has(read_text(config), "name: digits");
    if (!generated && std::getenv("DPTRAIN_DATA") == nullptr) {
      MESSAGE(config.filename().string() << " skipped: DPTRAIN_DATA is not set");
      continue;
    }
    std::vector<std::string> arguments = {config.string(),
                                          "--json",
                                          "--offline",
                                          "--set",
                                          "train.steps=3",
                                          "--set",
                                          "expect={}",
                                          "--set",
                                          "dataset.train_samples=600",
                                          "--set",
                                          "dataset.test_samples=100"};
    if (has(read_text(config), "name: cifar10}") || has(read_text(config), "name: cifar10\n")) {
      if (!fs::exists(fs::path(std::getenv("DPTRAIN_DATA")) / "cifar10")) {
        MESSAGE(config.filename().string() << " skipped: there is no cifar10 in DPTRAIN_DATA");
        continue;
      }
      arguments.insert(arguments.end(), {"--set", "dataset.name=cifar10-jpg"});  // the copy that tests have
    }
    add_precision(arguments);
    const Finished done = here.dptrain(arguments);
    INFO(config.string());
    INFO(done.err);
    CHECK(done.status == 0);
    if (done.status == 0) CHECK(json::parse(done.out)["steps"] == 3);
  }
}

}  // namespace dptrain::test
