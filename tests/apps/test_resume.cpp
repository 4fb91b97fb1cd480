// --resume and --init-from of the built binary: where there is no run, one that stopped, one that is complete, and
// another.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"
#include "data/data_files.h"
#include "interop/safetensors.h"
#include "spec/reader.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

/// The small job, with what tests add to it.
Finished train(const Workplace& here, const std::vector<std::string>& more, const std::string& out = "run") {
  std::vector<std::string> arguments = {"job.yaml", "--json", "--out", out};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return here.dptrain(arguments);
}

const std::vector<std::string> kLong = {"--set", "train.steps=100000000"};

/// A run in `run` that was stopped by a signal after its first line; how many steps it made.
std::int64_t stopped_run(const Workplace& here, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"job.yaml", "--json", "--out", "run", "--set", "train.steps=100000000"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  Process process(here.command(arguments), here.options());
  REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
  process.signal(SIGTERM);
  const Finished stopped = process.wait();
  INFO(stopped.err);
  REQUIRE(stopped.status == 143);
  return json::parse(stopped.out)["steps"];
}

}  // namespace

TEST_CASE("--resume starts a run where there is none") {
  const Workplace here;
  const Finished done = train(here, {"--resume"});
  CHECK(done.status == 0);
  CHECK(done.err.empty());
  CHECK(json::parse(done.out)["steps"] == 6);
  CHECK(json::parse(done.out)["weights_hash"] == json::parse(train(here, {}, "other").out)["weights_hash"]);
}

TEST_CASE(
    "--resume goes on with a run that stopped, with other devices, log, data, checkpoint and expect, to the same "
    "bits") {
  const Workplace here;
  const std::int64_t steps = stopped_run(here);
  const std::string more = "train.steps=" + std::to_string(steps + 7);
  const Finished done = train(
      here, {"--resume", "--set", more, "--devices", "3", "--set", "log.every=1 epochs", "--set",
             "checkpoint={every: 3 steps, keep: 9}", "--set", "expect.test_accuracy=0.01", "--set", "data.workers=1"});
  INFO(done.err);
  CHECK(done.status == 0);
  const json summary = json::parse(done.out);
  CHECK(summary["steps"] == steps + 7);
  CHECK(summary["replicas"] == 3);
  const json whole = json::parse(train(here, {"--set", more}, "whole").out);
  for (const char* key : {"weights_hash", "final_loss", "test_loss", "test_accuracy", "samples", "epochs"})
    CHECK_MESSAGE(summary[key] == whole[key], key);
  CHECK(has(read_text(here.folder / "run/job.yaml"), "keep: 9"));  // the spec is the one it goes on with
  // One log, in which the run began twice and ended twice.
  std::istringstream lines(read_text(here.folder / "run/metrics.jsonl"));
  int ends = 0;
  std::vector<std::int64_t> starts;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line);
    if (event["event"] == "start") starts.push_back(event["step"]);
    ends += event["event"] == "end";
  }
  CHECK(starts == std::vector<std::int64_t>{0, steps});
  CHECK(ends == 2);
  const Finished log =
      here.dptrain({"job.yaml", "--out", "run", "--resume", "--set", more, "--set", "expect.test_accuracy=0.01"});
  CHECK(log.status == 0);
  CHECK(has(log.out, summary["weights_hash"].get<std::string>()));
}

TEST_CASE("--resume of a complete run prints its summary again: 0, or 4 where expect was not met") {
  const Workplace here;
  const Finished first = train(here, {});
  const std::string metrics = read_text(here.folder / "run/metrics.jsonl");
  const Finished again = train(here, {"--resume"});
  CHECK(again.status == 0);
  CHECK(again.out == first.out);
  CHECK(read_text(here.folder / "run/metrics.jsonl") == metrics);
  // Fewer steps than it has made are complete, too.
  CHECK(train(here, {"--resume", "--set", "train.steps=5"}).out == first.out);

  // What is expected may change, and is then held against the same weights.
  const std::vector<std::string> much = {"--set", "expect.test_accuracy=1.0"};
  const Finished more = train(here, {"--resume", much[0], much[1]});
  CHECK(more.status == 4);
  CHECK(json::parse(more.out)["status"] == "expect_not_met");
  CHECK(json::parse(more.out)["weights_hash"] == json::parse(first.out)["weights_hash"]);
  CHECK(json::parse(more.out)["test_accuracy"] == json::parse(first.out)["test_accuracy"]);
  const Finished still = train(here, {"--resume", much[0], much[1]});
  CHECK(still.status == 4);
  CHECK(still.out == more.out);
  // It does not depend on what it was held against before whether fewer steps are complete.
  const Finished fewer = train(here, {"--resume", "--set", "train.steps=5"});
  INFO(fewer.err);
  CHECK(fewer.status == 0);
  CHECK(json::parse(fewer.out)["status"] == "done");
  CHECK(json::parse(fewer.out)["steps"] == 6);
  CHECK(json::parse(fewer.out)["weights_hash"] == json::parse(first.out)["weights_hash"]);
  CHECK(train(here, {"--resume", "--set", "train.steps=5"}).out == fewer.out);
  CHECK(train(here, {"--resume", much[0], much[1]}).status == 4);

  // A summary that was damaged: the last checkpoint knows as much.
  write_text(here.folder / "run/summary.json", "{\"status\": ");
  const Finished mended = train(here, {"--resume", much[0], much[1]});
  CHECK(mended.status == 4);
  CHECK(has(mended.err, "summary.json"));
  CHECK(here.summary("run")["weights_hash"] == json::parse(first.out)["weights_hash"]);
}

TEST_CASE("--resume refuses another job by its first difference, and leaves the run alone") {
  const Workplace here;
  REQUIRE(train(here, {}).status == 0);
  const std::string summary = read_text(here.folder / "run/summary.json"),
                    job = read_text(here.folder / "run/job.yaml");
  const std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>> others = {
      {{"--seed", "2"}, {"'seed: 1' there, 'seed: 2' here"}},
      {{"--set", "train.optimizer.lr=0.2"}, {"lr: 0.1", "lr: 0.2"}},
      {{"--set", "model.layers.1.linear=17"}, {"16", "17"}},
      {{"--set", "dataset.train_samples=301"}, {"300", "301"}},
      {{"--set", "train.micro_batch_size=8"}, {"micro_batch_size"}},
      {{"--set", "train.shuffle=false"}, {"shuffle"}},
      {{"--set", "reproducible=false"}, {"reproducible"}},
  };
  for (const auto& [arguments, said] : others) {
    std::vector<std::string> all = arguments;
    all.push_back("--resume");
    const Finished refused = train(here, all);
    INFO(refused.err);
    CHECK(refused.status == 2);
    CHECK(has(refused.err, "another job"));
    for (const std::string& part : said) CHECK_MESSAGE(has(refused.err, part), part);
    CHECK(read_text(here.folder / "run/summary.json") == summary);
    CHECK(read_text(here.folder / "run/job.yaml") == job);
  }
}

TEST_CASE("--resume needs --out and does not go with --fresh; a checkpoint beyond the job's end is refused") {
  const Workplace here;
  const Finished nowhere = here.dptrain({"job.yaml", "--resume"});
  CHECK(nowhere.status == 2);
  CHECK(has(nowhere.err, "--resume needs --out DIR"));
  const Finished both = train(here, {"--resume", "--fresh"});
  CHECK(both.status == 2);
  CHECK(has(both.err, "--fresh"));
  CHECK_FALSE(fs::exists(here.folder / "run"));
  const std::int64_t steps = stopped_run(here);
  const Finished shorter = train(here, {"--resume", "--set", "train.steps=1"});
  CHECK(shorter.status == 2);
  CHECK(has(shorter.err, "step " + std::to_string(steps)));
  CHECK(fs::exists(here.folder / "run/checkpoints" / ("step-" + std::to_string(steps))));
}

TEST_CASE("--resume refuses a checkpoint of another job that lies in the folder") {
  const Workplace here;
  REQUIRE(train(here, {}).status == 0);
  const auto moved_in = [&](const std::vector<std::string>& arguments) {
    REQUIRE(train(here, arguments, "other").status == 0);
    const fs::path run = here.folder / "run";
    fs::remove(run / "summary.json");
    fs::remove_all(run / "checkpoints/step-6");
    fs::copy(here.folder / "other/checkpoints/step-6", run / "checkpoints/step-6");
    fs::remove_all(here.folder / "other");
    const Finished refused = train(here, {"--resume"});
    CHECK(refused.status == 2);
    CHECK(has(refused.err, "run/checkpoints/step-6 is of another job: "));
    CHECK(fs::exists(run / "checkpoints/step-6"));
    return refused.err;
  };
  CHECK(has(moved_in({"--seed", "2"}), "'seed: 2' there, 'seed: 1' here"));
  CHECK(has(moved_in({"--set", "model.layers.1.linear=17"}), "out_features: 17"));
  RunState state = read_checkpoint(checkpoint_folder(here.folder / "run", 6)).snapshot.state;
  state.job = weights_yaml(read_job(here.folder / "run/job.yaml"));
  state.seed = 7;
  rewrite_state(here.folder / "run", state);
  CHECK(has(train(here, {"--resume"}).err, "'seed: 7' there, 'seed: 1' here"));
}

TEST_CASE("--resume and verify refuse other data by their number, and warn of samples that are others") {
  const Workplace here;
  const auto put_set = [&](int samples, char last) {
    const auto images = static_cast<std::uint32_t>(samples);
    std::string pixels, labels;
    for (int k = 0; k < samples; ++k) {
      pixels += std::string({char(k * 31), char(k * 7), char(k * 13), char(k)});
      labels += char(k % 2);
    }
    pixels.back() = last;
    const auto put = [&](const char* name, const std::string& bytes) { write_text(here.folder / "set" / name, bytes); };
    fs::create_directories(here.folder / "set");
    put("train-images-idx3-ubyte", idx({images, 2, 2}, pixels));
    put("train-labels-idx1-ubyte", idx({images}, labels));
    put("t10k-images-idx3-ubyte", idx({images, 2, 2}, pixels));
    put("t10k-labels-idx1-ubyte", idx({images}, labels));
  };
  write_text(
      here.folder / "job.yaml",
      "dataset: {format: idx, path: set}\nmodel: {input: [1, 2, 2], layers: [flatten, {linear: 2}]}\n"
      "train: {steps: 4, global_batch_size: 8, optimizer: {name: sgd, lr: 0.1}}\ncheckpoint: {every: 2 steps}\n");
  put_set(24, 'a');
  const std::vector<std::string> longer = {"--resume", "--set", "train.steps=6"};
  REQUIRE(train(here, {}).status == 0);
  put_set(45, 'a');
  const Finished other = train(here, longer);
  CHECK(other.status == 2);
  CHECK(
      has(other.err, "run/checkpoints/step-4 is of other data: 24 training samples there, 45 here. Begin another run"));
  const Finished verified = here.dptrain({"verify", "run"});
  CHECK(verified.status == 2);
  CHECK(has(verified.err, "run: the run was trained on other data: 24 training samples there, 45 here"));
  put_set(24, 'b');
  const Finished warned = train(here, longer);
  CHECK(warned.status == 0);
  CHECK(has(warned.err, "the checkpoint rests on training samples with the hash "));
}

TEST_CASE("--resume warns, in one line, of the first thing that the bits rest on and that is another now") {
  const Workplace here;
  REQUIRE(train(here, {}).status == 0);
  const auto warned = [&](const std::function<void(Basis&)>& change) {
    const Workplace copy;
    fs::copy(here.folder / "run", copy.folder / "run", fs::copy_options::recursive);
    fs::remove(copy.folder / "run/summary.json");
    RunState state = read_checkpoint(checkpoint_folder(copy.folder / "run", 6)).snapshot.state;
    change(state.basis);
    rewrite_state(copy.folder / "run", state);
    const Finished resumed = train(copy, {"--resume"});
    CHECK(resumed.status == 0);
    return resumed.err;
  };
  const auto value = [](Basis& basis, const std::string& name) -> std::string& {
    return std::find_if(basis.begin(), basis.end(), [&](const auto& fact) { return fact.first == name; })->second;
  };
  CHECK(warned([](Basis&) {}).empty());
  const std::string what =
      "warning: the weights may not get the bits of an uninterrupted run: the checkpoint rests on ";
  CHECK(warned([&](Basis& b) { value(b, "build") = "another"; }).starts_with(what + "build another, this run on "));
  const std::string two = warned([&](Basis& b) { value(b, "C library") = value(b, "build") = "glibc 1"; });
  CHECK(two.starts_with(what + "C library glibc 1, this run on "));
  CHECK(std::count(two.begin(), two.end(), '\n') == 1);
  CHECK(warned([](Basis& b) { b.pop_back(); }).starts_with(what + "build none, this run on "));
  CHECK(warned([](Basis& b) { b.emplace_back("moon", "full"); }) == what + "moon full, this run on none\n");
}

TEST_CASE(
    "what decides the weights at values that are not finite stays, but a run that ends there may change its policy") {
  const Workplace here;
  const std::string drill = "drills=[{at_step: 4, replica: 0, do: nan}]", skip = "faults.on_nan=skip";
  const std::string whole = json::parse(train(here, {}, "whole").out)["weights_hash"];
  REQUIRE(train(here, {"--set", "checkpoint.every=2 steps", "--set", drill}).status == 1);
  const auto refused = [&](std::vector<std::string> arguments) {
    arguments.push_back("--resume");
    const Finished done = train(here, arguments);
    CHECK(done.status == 2);
    CHECK(has(done.err, "another job"));
  };
  refused({"--set", skip, "--set", drill});
  const Finished done = train(here, {"--resume", "--set", skip, "--set", "balance=auto", "--set", "faults.max_skips=3",
                                     "--set", "faults.step_deadline=60"});
  INFO(done.err);
  CHECK(done.status == 0);
  CHECK(json::parse(done.out)["weights_hash"] == whole);
  CHECK(here.dptrain({"verify", "run", "--all"}).status == 0);
  refused({});
  refused({"--set", "faults.on_nan=rollback"});
  refused({"--set", skip, "--set", drill});
}

TEST_CASE("a longer run: in epochs or steps, with a warning where the learning rates rest on its length") {
  const Workplace here;
  REQUIRE(train(here, {}).status == 0);
  const Finished longer = train(here, {"--resume", "--set", "train.epochs=2"});
  INFO(longer.err);
  CHECK(longer.status == 0);
  CHECK_FALSE(has(longer.err, "warning"));
  CHECK(json::parse(longer.out)["steps"] == 10);
  CHECK(json::parse(longer.out)["weights_hash"] ==
        json::parse(train(here, {"--set", "train.steps=10"}, "whole").out)["weights_hash"]);

  const std::string cosine = "train.lr_schedule={name: cosine}";
  REQUIRE(train(here, {"--set", cosine}, "cosine").status == 0);
  const Finished warned = train(here, {"--set", cosine, "--resume", "--set", "train.steps=10"}, "cosine");
  CHECK(warned.status == 0);
  CHECK(has(warned.err,
            "warning: the weights may not get the bits of an uninterrupted run: the checkpoint rests on "
            "steps of the learning-rate schedule 6, this run on 10"));
}

TEST_CASE("--resume where a checkpoint is damaged uses the one before; where none can be used the run ends with 1") {
  const Workplace here;
  const std::vector<std::string> often = {"--set", "checkpoint.every=2 steps", "--set", "train.steps=7"};
  const Finished first = train(here, often);
  std::vector<std::string> again = often;
  again.push_back("--resume");
  fs::remove(here.folder / "run/summary.json");
  for (const std::string step : {"step-7", "step-6", "step-4"}) {
    write_text(here.folder / "run/checkpoints" / step / "model.safetensors", "torn");
    const Workplace copy;
    fs::copy(here.folder / "run", copy.folder / "run", fs::copy_options::recursive);
    const Finished resumed = train(copy, again);
    INFO(resumed.err);
    CHECK(has(resumed.err, step + "/model.safetensors: has 4 bytes instead of "));
    if (step != "step-4") {
      CHECK(resumed.status == 0);
      CHECK(json::parse(resumed.out)["weights_hash"] == json::parse(first.out)["weights_hash"]);
      CHECK(train(copy, again).err.empty());
      continue;
    }
    CHECK(resumed.status == 1);
    CHECK(has(resumed.err, "step-7/model.safetensors"));
    CHECK(has(resumed.err, "--fresh"));
    CHECK(fs::exists(copy.folder / "run/checkpoints/step-6/manifest.json"));  // what can be looked into stays
    std::vector<std::string> fresh = often;
    fresh.push_back("--fresh");
    CHECK(json::parse(train(copy, fresh).out)["weights_hash"] == json::parse(first.out)["weights_hash"]);
  }
}

TEST_CASE("--init-from: the first weights from a safetensors file; others are refused with status 2") {
  const Workplace here;
  const Finished first = train(here, {});
  const std::string file = "run/checkpoints/step-6/model.safetensors";
  const json one = json::parse(train(here, {"--init-from", file}, "one").out);
  const json two = json::parse(train(here, {"--init-from", file, "--devices", "4"}, "two").out);
  CHECK(one["weights_hash"] == two["weights_hash"]);
  CHECK(one["weights_hash"] != json::parse(first.out)["weights_hash"]);
  CHECK(one["final_loss"].get<double>() < json::parse(first.out)["final_loss"].get<double>());

  // As PyTorch's users write it: another order, metadata of their own.
  std::vector<SafeTensorView> tensors;
  const SafetensorsFile saved = read_safetensors(here.folder / file);
  for (const auto& [name, tensor] : saved.tensors) tensors.push_back({name, tensor.shape, saved.floats(name)});
  std::reverse(tensors.begin(), tensors.end());
  write_safetensors(here.folder / "torch.safetensors", tensors, {{"format", "pt"}, {"by", "hand"}});
  CHECK(json::parse(train(here, {"--init-from", "torch.safetensors"}, "three").out)["weights_hash"] ==
        one["weights_hash"]);

  const Finished narrow = train(here, {"--init-from", file, "--set", "model.layers.1.linear=17"}, "narrow");
  CHECK(narrow.status == 2);
  CHECK(has(narrow.err, "3.weight is (10, 16), and this model's is (10, 17)"));
  const Finished absent = train(here, {"--init-from", "nowhere"}, "absent");
  CHECK(absent.status == 2);
  CHECK(has(absent.err, "nowhere"));
  for (const char* out : {"narrow", "absent"}) CHECK_FALSE(fs::exists(here.folder / out));
}

TEST_CASE(
    "--init-from: what is no safetensors file of F32 is refused with status 2, what is wrong and what is wanted") {
  const Workplace here;
  REQUIRE(train(here, {}).status == 0);
  const std::string good = read_text(here.folder / "run/checkpoints/step-6/model.safetensors");
  const auto tensor = [](const std::string& type, const std::string& bytes) {
    const std::string header = R"({"1.weight":{"dtype":")" + type + R"(","shape":[1],"data_offsets":[0,)" +
                               std::to_string(bytes.size()) + "]}}";
    return std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + bytes;
  };
  fs::create_directory(here.folder / "folder");
  const std::vector<std::pair<std::string, std::string>> files = {{"text", "no tensors"},
                                                                  {"empty", ""},
                                                                  {"truncated", good.substr(0, good.size() - 1)},
                                                                  {"longer", good + "x"},
                                                                  {"garbage", good.substr(0, 8) + "x" + good.substr(9)},
                                                                  {"f16", tensor("F16", "ab")},
                                                                  {"i64", tensor("I64", "abcdefgh")},
                                                                  {"none", std::string("\2\0\0\0\0\0\0\0{}", 10)},
                                                                  {"folder", ""}};
  for (const auto& [name, bytes] : files) {
    if (name != "folder") write_text(here.folder / name, bytes);
    const Finished refused = train(here, {"--init-from", name}, "none-run");
    INFO(refused.err);
    CHECK(refused.status == 2);
    CHECK(refused.out.empty());
    CHECK(has(refused.err, name + ": "));
    if (name != "none") {
      CHECK(has(refused.err, "--init-from " + name + ": "));
      CHECK(has(refused.err, "It takes a safetensors file with the model's tensors in F32"));
    }
    CHECK_FALSE(fs::exists(here.folder / "none-run"));
    CHECK(train(here, {"--init-from", name, "--resume"}, "run").status == 2);
  }
}

}  // namespace dptrain::test
