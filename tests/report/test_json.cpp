#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/process.h"
#include "report/json.h"
#include "report/lines.h"
#include "report/samples.h"

using namespace dptrain;
using namespace dptrain::test;
using Json = nlohmann::ordered_json;

namespace {

std::vector<std::string> keys(const std::string& text) {
  std::vector<std::string> names;
  const Json json = Json::parse(text);
  for (const auto& [key, value] : json.items()) names.push_back(key);
  return names;
}

}  // namespace

TEST_CASE("the summary has the contract's keys in a fixed order") {
  CHECK(keys(summary_json(sample_summary())) == std::vector<std::string>{"status",        "name",
                                                                         "dataset",       "device_type",
                                                                         "devices",       "replicas",
                                                                         "micro_batches", "mode",
                                                                         "reproducible",  "seed",
                                                                         "parameters",    "steps",
                                                                         "epochs",        "samples",
                                                                         "wall_seconds",  "startup_seconds",
                                                                         "train_seconds", "samples_per_second",
                                                                         "final_loss",    "test_loss",
                                                                         "test_accuracy", "weights_hash",
                                                                         "shares",        "peak_rss_bytes",
                                                                         "skipped_steps", "faults",
                                                                         "version"});
  const Json json = Json::parse(summary_json(sample_summary()));
  CHECK(json["status"] == "done");
  CHECK(json["dataset"] == "mnist");
  CHECK(json["devices"] == 2);
  CHECK(json["samples"] == 300000);
  CHECK(json["startup_seconds"] == 0.25);
  CHECK(json["test_accuracy"] == 0.9912);
  CHECK(json["weights_hash"] == "00112233445566778899aabbccddeeff");
  CHECK(json["shares"]["compute"] == 0.9);
  CHECK(json["peak_rss_bytes"] == 123456789);
  CHECK(json["version"] == version());
}

TEST_CASE("where no step was taken nobody knows where the time went") {
  Summary summary = sample_summary();
  summary.shares = {};
  const Json json = Json::parse(summary_json(summary));
  CHECK(json["shares"] == Json{{"data", nullptr}, {"compute", nullptr}, {"reduce", nullptr}, {"wait", nullptr}});
  CHECK(std::isnan(parse_summary(summary_json(summary), "summary.json").shares.wait));
}

TEST_CASE("a fault: an event without the time that recovery takes, and an entry of the summary with it") {
  FaultReport fault{.kind = "replica_failed", .action = "continue", .step = 120, .replica = 1};
  fault.message = "replica 1 failed in step 120: this is a drill";
  const Json event = Json::parse(fault_json(fault));
  CHECK(event == Json{{"event", "fault"},
                      {"kind", "replica_failed"},
                      {"action", "continue"},
                      {"step", 120},
                      {"replica", 1},
                      {"micro_batch", nullptr},
                      {"parameter", nullptr},
                      {"message", "replica 1 failed in step 120: this is a drill"},
                      {"unix_time", nullptr}});
  Summary summary = sample_summary();
  CHECK(Json::parse(summary_json(summary))["faults"].empty());
  fault.recovery_seconds = 0.25;
  summary.faults.push_back(fault);
  const Json json = Json::parse(summary_json(summary));
  REQUIRE(json["faults"].size() == 1);
  CHECK(json["faults"][0]["recovery_seconds"] == 0.25);
  CHECK(json["faults"][0]["replica"] == 1);
}

TEST_CASE("an assignment: replicas that have failed have no time") {
  const AssignmentReport report{.step = 32,
                                .reason = "balance",
                                .micro_batches = {11, 0, 5},
                                .before = {8, 0, 8},
                                .seconds = {0.002, std::numeric_limits<double>::infinity(), 0.0043}};
  const Json json = Json::parse(assignment_json(report));
  CHECK(json["event"] == "assignment");
  CHECK(json["micro_batches"] == Json{11, 0, 5});
  CHECK(json["seconds"][1].is_null());
  CHECK(assignment_line(report) ==
        "from step 32 on: 11 + 0 + 5 micro-batches (2.00, -, 4.30 ms each), before 8 + 0 + 8: balance");
}

TEST_CASE("asynchronous runs: how stale the gradients were, in the summary and in each interval") {
  Summary summary = sample_summary();
  CHECK(summary_json(summary).find("staleness") == std::string::npos);
  summary.async =
      AsyncReport{.versions = 12, .max_staleness = 2, .mean_staleness = 0.5, .histogram = {8, 2, 2}, .dropped = 3};
  CHECK(summary_json(summary).ends_with(
      R"("staleness":{"max":2,"mean":0.5,"histogram":[8,2,2]},"dropped":3,"skipped_gradients":0,"versions":12,"fallback_step":null})"));
  StepReport report;
  report.async = summary.async;
  CHECK(train_json(report).ends_with(R"("versions":12,"staleness":{"max":2,"mean":0.5},"dropped":3})"));
}

TEST_CASE("each status has its own text") {
  CHECK(text(RunStatus::done) == "done");
  CHECK(text(RunStatus::expect_not_met) == "expect_not_met");
  CHECK(text(RunStatus::stopped) == "stopped");
  CHECK(text(RunStatus::failed) == "failed");
}

TEST_CASE("numbers that are not finite become null") {
  Summary summary = sample_summary();
  summary.final_loss = std::numeric_limits<double>::infinity();
  summary.test_loss = -std::numeric_limits<double>::infinity();
  summary.test_accuracy = not_known;
  const Json json = Json::parse(summary_json(summary));
  CHECK(json["final_loss"].is_null());
  CHECK(json["test_loss"].is_null());
  CHECK(json["test_accuracy"].is_null());
  StepReport step = sample_step();
  step.loss = not_known;
  CHECK(Json::parse(train_json(step))["loss"].is_null());
}

TEST_CASE("a name that is not UTF-8 or holds control codes leaves valid JSON of one line") {
  Summary summary = sample_summary();
  summary.dataset = "a\xff\n\x1b[2Jb\"";
  const std::string text = summary_json(summary);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(Json::accept(text));
}

TEST_CASE("a seed keeps all of its 64 bits") {
  Summary summary = sample_summary();
  summary.seed = std::numeric_limits<std::uint64_t>::max();
  CHECK(Json::parse(summary_json(summary))["seed"] == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("the summary of local SGD") {
  Summary summary = sample_summary();
  CHECK_FALSE(Json::parse(summary_json(summary)).contains("local_sgd"));
  summary.local_sgd = {.workers = 4, .sync_every = 8, .averages = 30};
  CHECK(Json::parse(summary_json(summary))["local_sgd"].dump() == R"({"workers":4,"sync_every":8,"averages":30})");
}

TEST_CASE("the loss scale of fp16, in reports, in the summary and back") {
  const LossScaleReport scale{.scale = 32768, .skipped_steps = 3};
  StepReport step = sample_step();
  CHECK_FALSE(Json::parse(train_json(step)).contains("loss_scale"));
  step.loss_scale = scale;
  CHECK(train_json(step).ends_with(R"("wait":0.02,"loss_scale":{"scale":32768.0,"skipped_steps":3}})"));
  Summary summary = sample_summary();
  CHECK_FALSE(parse_summary(summary_json(summary), "summary.json").loss_scale);
  summary.loss_scale = scale;
  const Summary read = parse_summary(summary_json(summary), "summary.json");
  REQUIRE(read.loss_scale);
  CHECK(read.loss_scale->scale == 32768);
  CHECK(read.loss_scale->skipped_steps == 3);
}

TEST_CASE("a summary in which everything is set is read back as it was written") {
  Summary full = sample_summary();
  full.status = RunStatus::failed;
  full.error = "the loss is not finite";
  full.reproducible = false;
  full.skipped_steps = 5;
  full.ema_test_loss = 0.02;
  full.ema_test_accuracy = 0.995;
  full.faults = {{.kind = "not_finite",
                  .action = "skip",
                  .step = 12,
                  .replica = 1,
                  .micro_batch = 3,
                  .parameter = "1.weight",
                  .message = "a gradient",
                  .recovery_seconds = 0.25},
                 {.kind = "deadline", .action = "stop", .step = 13}};
  full.local_sgd = LocalSgdSummary{.workers = 4, .sync_every = 8, .averages = 30};
  full.async = AsyncReport{.versions = 12,
                           .max_staleness = 2,
                           .mean_staleness = 0.5,
                           .histogram = {8, 2, 2},
                           .dropped = 3,
                           .skipped = 1,
                           .fallback_step = 9};
  full.loss_scale = LossScaleReport{.scale = 32768, .skipped_steps = 5};
  const Summary read = parse_summary(summary_json(full), "summary.json");
  CHECK(summary_json(read) == summary_json(full));
  CHECK(end_lines(read) == end_lines(full));
  REQUIRE(read.faults.size() == 2);
  CHECK(read.faults[1].replica == -1);
  CHECK(std::isnan(read.faults[1].recovery_seconds));
  const Summary plain = parse_summary(summary_json(sample_summary()), "summary.json");
  CHECK(summary_json(plain) == summary_json(sample_summary()));
  CHECK(std::isnan(plain.ema_test_loss));
  Summary unknown = sample_summary();
  unknown.test_accuracy = unknown.startup_seconds = not_known;
  CHECK(summary_json(parse_summary(summary_json(unknown), "summary.json")) == summary_json(unknown));
}

TEST_CASE("what is no summary is told in words: what is missing, and what cannot be") {
  const auto said = [](const std::string& text) -> std::string {
    try {
      parse_summary(text, "run/summary.json");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string whole = summary_json(sample_summary()), start = "run/summary.json: is no summary of a run: ";
  Json without = Json::parse(whole), other = without, null = without;
  without.erase("micro_batches");
  other["mode"] = 3;
  null["steps"] = nullptr;
  CHECK(said(whole) == "no error");
  CHECK(said("") == start + "it is not valid JSON");
  CHECK(said(whole.substr(0, whole.size() / 2)) == start + "it is not valid JSON");
  CHECK(said("[1]") == start + "it is not one JSON object");
  CHECK(said(without.dump()) == start + "micro_batches is missing");
  CHECK(said(other.dump()) == start + "mode cannot be 3");
  CHECK(said(null.dump()) == start + "steps cannot be null");
}

TEST_CASE("events of metrics.jsonl") {
  CHECK(train_json(sample_step()) ==
        R"({"event":"train","step":100,"epoch":0.4255,"loss":0.341249,"lr":0.1,"samples_per_second":31204.4,)"
        R"("data":0.05,"compute":0.9,"reduce":0.03,"wait":0.02})");
  CHECK(
      evaluate_json(sample_evaluation()) ==
      R"({"event":"evaluate","step":235,"epoch":1.0,"test_loss":0.0812,"test_accuracy":0.97454,"seconds":0.61,"train_seconds":1.5})");
  CHECK(end_json(sample_summary()) ==
        R"({"event":"end","status":"done","step":1175,"epoch":5.0,"weights_hash":"00112233445566778899aabbccddeeff"})");
  CHECK(keys(start_json(sample_plan())) ==
        std::vector<std::string>{"event", "step", "name", "seed", "version", "dataset", "device_type", "precision",
                                 "devices", "replicas", "micro_batches", "global_batch_size", "mode", "reproducible",
                                 "parameters", "steps", "epochs"});
}
