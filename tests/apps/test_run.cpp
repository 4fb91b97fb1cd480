// What a run says, leaves and returns, through the built binary.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "apps/end_to_end.h"
#include "core/hash.h"
#include "interop/safetensors.h"
#include "spec/reader.h"
#include "train/fit/fit.h"

namespace dptrain::test {

using nlohmann::json;

TEST_CASE("every train line says where the time went, the first and the only one too") {
  for (const char* steps : {"1", "3"}) {
    for (const char* devices : {"1", "2"}) {
      const Workplace here;
      const Finished done = here.dptrain({"job.yaml", "--quiet", "--out", "run", "--devices", devices, "--set",
                                          std::string("train.steps=") + steps, "--set", "log.every=1 steps"});
      REQUIRE(done.status == 0);
      std::istringstream lines(read_text(here.folder / "run/metrics.jsonl"));
      int found = 0;
      for (std::string line; std::getline(lines, line);) {
        const json event = json::parse(line);
        if (event["event"] != "train") continue;
        ++found;
        const double sum = event["data"].get<double>() + event["compute"].get<double>() +
                           event["reduce"].get<double>() + event["wait"].get<double>();
        CHECK(sum == doctest::Approx(1));
      }
      CHECK(found == std::stoi(steps));
    }
  }
}

TEST_CASE("--json prints one object and nothing else, the same as summary.json, with every key of the contract") {
  const Workplace here;
  const Finished done = here.dptrain({"job.yaml", "--json", "--out", "run"});
  CHECK(done.status == 0);
  CHECK(done.err.empty());
  CHECK(std::count(done.out.begin(), done.out.end(), '\n') == 1);
  const json summary = json::parse(done.out);  // throws where anything follows the object
  for (const std::string& key : summary_keys) CHECK_MESSAGE(summary.contains(key), key);
  CHECK(summary == here.summary("run"));
  CHECK(summary["status"] == "done");
  CHECK(summary["dataset"] == "digits");
  CHECK(summary["devices"] == 2);
  CHECK(summary["replicas"] == 2);
  CHECK(summary["micro_batches"] == 4);
  CHECK(summary["mode"] == "sync");
  CHECK(summary["steps"] == 6);
  CHECK(summary["samples"] == 300 + 64);
  CHECK(summary["epochs"].get<double>() == doctest::Approx(6.0 / 5));
  CHECK(summary["weights_hash"].get<std::string>().size() == 32);
  CHECK(summary["startup_seconds"].get<double>() > 0);
  CHECK(summary["wall_seconds"].get<double>() >=
        summary["startup_seconds"].get<double>() + summary["train_seconds"].get<double>());
  CHECK(summary["peak_rss_bytes"].get<std::int64_t>() > 1000000);
}

TEST_CASE("evaluate.views: the weights are the same, the test result is of the mean, at any number of replicas") {
  const Workplace here;
  const auto run = [&](const std::string& views, const std::string& devices) {
    const Finished done = here.dptrain(
        {"job.yaml", "--quiet", "--fresh", "--out", "run", "--devices", devices, "--set", "evaluate.views=" + views});
    CHECK(done.status == 0);
    return here.summary("run");
  };
  const json one = run("1", "2");
  std::set<double> losses{one["test_loss"]};
  for (const std::string views : {"2", "6"}) {
    const json many = run(views, "1");
    CHECK(many["weights_hash"] == one["weights_hash"]);
    CHECK(run(views, "4")["test_loss"] == many["test_loss"]);
    losses.insert(many["test_loss"].get<double>());
  }
  CHECK(losses.size() == 3);
}

TEST_CASE("piped output: lines without control codes; --quiet: none") {
  const Workplace here;
  const Finished done = here.dptrain({"job.yaml"});
  CHECK(done.status == 0);
  CHECK(has(done.out, "step"));
  for (const std::string& text : {done.out, done.err}) {
    for (const char c : text) CHECK((c == '\n' || static_cast<unsigned char>(c) >= ' '));
  }
  CHECK(fs::exists(here.folder / "runs" / "small"));
  CHECK(here.dptrain({"job.yaml", "--quiet"}).out.empty());
}

TEST_CASE("metrics.jsonl: an object a line, the contract's keys in each training event, start to end") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run", "--set", "evaluate.every=3 steps"}).status == 0);
  std::istringstream lines(read_text(here.folder / "run" / "metrics.jsonl"));
  std::vector<std::string> events;
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(lines, line);) {
    const json event = json::parse(line);
    events.push_back(event["event"]);
    if (event["event"] != "train") continue;
    steps.push_back(event["step"]);
    for (const char* key : {"epoch", "loss", "lr", "samples_per_second", "data", "compute", "reduce", "wait"}) {
      CHECK_MESSAGE(event[key].is_number(), key);
    }
  }
  CHECK(steps == std::vector<std::int64_t>{2, 4, 6});
  CHECK(std::count(events.begin(), events.end(), "evaluate") == 2);
  CHECK(events.front() == "start");
  CHECK(events.back() == "end");
}

TEST_CASE("check counts the batches of as many loading threads as a run has") {
  const Workplace here;
  for (const int replicas : {1, 2}) {
    const auto memory = [&](const std::string& mode, const std::string& workers) {
      const Finished check = here.dptrain({"check", "job.yaml", "--mode", mode, "--devices", std::to_string(replicas),
                                           "--set", "data={prefetch: 1, workers: " + workers + "}", "--set",
                                           "dataset.augment=[horizontal_flip: 0.5]"});
      CHECK_MESSAGE(check.status == 0, check.err);
      return check.out.substr(check.out.find("\nmemory "));
    };
    const JobSpec job = read_job(here.folder / "job.yaml");
    const std::string workers = std::to_string(loader_workers(job, replicas, 16 * 784, true));
    for (const char* mode : {"sync", "async", "local_sgd"}) CHECK(memory(mode, "auto") == memory(mode, workers));
  }
}

TEST_CASE("the run folder's job.yaml runs again to the same weights") {
  const Workplace here;
  REQUIRE(
      here.dptrain({"job.yaml", "--quiet", "--out", "one", "--seed", "5", "--set", "train.clip_grad_norm=1"}).status ==
      0);
  REQUIRE(here.dptrain({"one/job.yaml", "--quiet", "--out", "two", "--devices", "3"}).status == 0);
  CHECK(here.summary("one")["weights_hash"] == here.summary("two")["weights_hash"]);
  CHECK(here.summary("one")["name"] == here.summary("two")["name"]);
  REQUIRE(here.dptrain({"one/job.yaml", "--quiet", "--out", "three", "--seed", "6"}).status == 0);
  CHECK(here.summary("one")["weights_hash"] != here.summary("three")["weights_hash"]);
}

TEST_CASE("the saved weights are what weights_hash was taken of") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  const SafetensorsFile file = read_safetensors(here.folder / "run/checkpoints/step-6/model.safetensors");
  CHECK(file.tensors.size() == 4);
  CHECK(file.tensor("1.weight").shape == std::vector<std::int64_t>{16, 784});
  CHECK(file.tensor("3.bias").shape == std::vector<std::int64_t>{10});
  Hash128 hash;
  for (const auto& [name, tensor] : file.tensors) {
    const std::span<const float> values = file.floats(name);
    hash.update(values.data(), values.size_bytes());
  }
  CHECK(hash.hex() == here.summary("run")["weights_hash"].get<std::string>());
}

TEST_CASE("--out refuses a run that is there; --fresh replaces it whole, checkpoints too") {
  const Workplace here;
  REQUIRE(here.dptrain({"job.yaml", "--quiet", "--out", "run"}).status == 0);
  const std::string before = read_text(here.folder / "run/summary.json");
  const Finished refused = here.dptrain({"job.yaml", "--quiet", "--out", "run"});
  CHECK(refused.status == 2);
  CHECK(has(refused.err, "--fresh"));
  CHECK(read_text(here.folder / "run/summary.json") == before);

  // A run that fails before it starts leaves the earlier one alone.
  CHECK(here.dptrain({"job.yaml", "--quiet", "--out", "run", "--fresh", "--devices", "9"}).status == 2);
  CHECK(read_text(here.folder / "run/summary.json") == before);

  CHECK(here.dptrain({"job.yaml", "--quiet", "--out", "run", "--fresh", "--set", "train.steps=3"}).status == 0);
  CHECK(here.summary("run")["steps"] == 3);
  CHECK(fs::exists(here.folder / "run/checkpoints/step-3/model.safetensors"));
  CHECK_FALSE(fs::exists(here.folder / "run/checkpoints/step-6"));
}

TEST_CASE("a folder of checkpoints that no run wrote is not touched") {
  const Workplace here;
  fs::create_directories(here.folder / "mine/checkpoints");
  write_text(here.folder / "mine/checkpoints/thesis", "x");
  for (const bool fresh : {false, true}) {
    std::vector<std::string> arguments = {"job.yaml", "--quiet", "--out", "mine"};
    if (fresh) arguments.push_back("--fresh");
    const Finished refused = here.dptrain(arguments);
    CHECK(refused.status == 2);
    CHECK(has(refused.err, "checkpoints"));
    CHECK(read_text(here.folder / "mine/checkpoints/thesis") == "x");
  }
}

}  // namespace dptrain::test
