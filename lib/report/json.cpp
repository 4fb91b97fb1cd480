#include "report/json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "report/process.h"

namespace dptrain {

namespace {

using Json = nlohmann::ordered_json;  // keeps the order in which keys are written; dumps NaN and infinities as null

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json fault_object(const FaultReport& report) {
  return {{"kind", report.kind},
          {"action", report.action},
          {"step", report.step},
          {"replica", report.replica < 0 ? Json() : Json(report.replica)},
          {"micro_batch", report.micro_batch < 0 ? Json() : Json(report.micro_batch)},
          {"parameter", report.parameter.empty() ? Json() : Json(report.parameter)},
          {"message", report.message},
          {"recovery_seconds", report.recovery_seconds}};
}

/// Of the weights' average: keys that only runs with one have.
void add_ema(Json& json, double loss, double accuracy) {
  if (std::isnan(loss)) return;
  json["ema_test_loss"] = loss;
  json["ema_test_accuracy"] = accuracy;
}

}  // namespace

std::string text(RunStatus status) {
  switch (status) {
    case RunStatus::done:
      return "done";
    case RunStatus::expect_not_met:
      return "expect_not_met";
    case RunStatus::stopped:
      return "stopped";
    case RunStatus::failed:
      return "failed";
  }
  return "unknown";
}

namespace {

void add_loss_scale(Json& json, const std::optional<LossScaleReport>& report) {
  if (report) json["loss_scale"] = {{"scale", report->scale}, {"skipped_steps", report->skipped_steps}};
}

AsyncReport async_of(const Json& json) {
  const Json& staleness = json.at("staleness");
  return {.versions = json.at("versions"),
          .max_staleness = staleness.at("max"),
          .mean_staleness = staleness.at("mean"),
          .histogram = staleness.at("histogram").get<std::vector<std::int64_t>>(),
          .dropped = json.at("dropped"),
          .skipped = json.at("skipped_gradients"),
          .fallback_step = json.at("fallback_step").is_null() ? -1 : json.at("fallback_step").get<std::int64_t>()};
}

}  // namespace

Summary parse_summary(const std::string& text_of_file, const std::string& file) {
  try {
    const Json json = Json::parse(text_of_file);
    const auto real = [&](const char* key) { return json.at(key).is_null() ? not_known : json.at(key).get<double>(); };
    Summary s;
    for (const RunStatus status : {RunStatus::done, RunStatus::expect_not_met, RunStatus::stopped, RunStatus::failed}) {
      if (json.at("status") == text(status)) s.status = status;
    }
    json.at("name").get_to(s.name);
    json.at("dataset").get_to(s.dataset);
    json.at("device_type").get_to(s.device_type);
    json.at("mode").get_to(s.mode);
    json.at("weights_hash").get_to(s.weights_hash);
    json.at("seed").get_to(s.seed);
    json.at("devices").get_to(s.devices);
    json.at("replicas").get_to(s.replicas);
    json.at("micro_batches").get_to(s.micro_batches);
    json.at("parameters").get_to(s.parameters);
    json.at("reproducible").get_to(s.reproducible);
    json.at("steps").get_to(s.steps);
    json.at("samples").get_to(s.samples);
    s.epochs = real("epochs");
    s.wall_seconds = real("wall_seconds");
    s.train_seconds = real("train_seconds");
    s.samples_per_second = real("samples_per_second");
    s.final_loss = real("final_loss");
    s.test_loss = real("test_loss");
    s.test_accuracy = real("test_accuracy");
    if (json.contains("ema_test_loss")) s.ema_test_loss = real("ema_test_loss");
    if (json.contains("ema_test_accuracy")) s.ema_test_accuracy = real("ema_test_accuracy");
    const Json& shares = json.at("shares");
    s.shares = {shares.at("data"), shares.at("compute"), shares.at("reduce"), shares.at("wait")};
    json.at("peak_rss_bytes").get_to(s.peak_rss_bytes);
    if (json.contains("versions")) s.async = async_of(json);
    if (json.contains("loss_scale"))
      s.loss_scale = LossScaleReport{.scale = json.at("loss_scale").at("scale"),
                                     .skipped_steps = json.at("loss_scale").at("skipped_steps")};
    return s;
  } catch (const Json::exception& error) {
    fail(ExitStatus::failed, "{}: is no summary of a run: {}", file, error.what());
  }
}

std::string start_json(const RunPlan& plan) {
  return dump(Json{{"event", "start"},
                   {"name", plan.name},
                   {"seed", plan.seed},
                   {"version", version()},
                   {"dataset", plan.dataset},
                   {"device_type", plan.device_type},
                   {"precision", plan.precision},
                   {"devices", plan.devices},
                   {"replicas", plan.replicas},
                   {"micro_batches", plan.micro_batches},
                   {"global_batch_size", plan.global_batch_size},
                   {"mode", plan.mode},
                   {"reproducible", plan.reproducible},
                   {"parameters", plan.parameters},
                   {"steps", plan.steps},
                   {"epochs", plan.epochs}});
}

std::string train_json(const StepReport& report) {
  Json json{{"event", "train"},
            {"step", report.step},
            {"epoch", report.epoch},
            {"loss", report.loss},
            {"lr", report.lr},
            {"samples_per_second", report.samples_per_second},
            {"data", report.shares.data},
            {"compute", report.shares.compute},
            {"reduce", report.shares.reduce},
            {"wait", report.shares.wait}};
  if (report.async) {
    json["versions"] = report.async->versions;
    json["staleness"] = {{"max", report.async->max_staleness}, {"mean", report.async->mean_staleness}};
    json["dropped"] = report.async->dropped;
  }
  add_loss_scale(json, report.loss_scale);
  return dump(json);
}

std::string evaluate_json(const EvalReport& report) {
  Json json{{"event", "evaluate"},
            {"step", report.step},
            {"epoch", report.epoch},
            {"test_loss", report.test_loss},
            {"test_accuracy", report.test_accuracy},
            {"seconds", report.seconds},
            {"train_seconds", report.train_seconds}};
  add_ema(json, report.ema_test_loss, report.ema_test_accuracy);
  return dump(json);
}

std::string fault_json(const FaultReport& report) {
  Json json = fault_object(report);
  json.erase("recovery_seconds");
  json["unix_time"] = report.unix_time;
  Json event{{"event", "fault"}};
  event.update(json);
  return dump(event);
}

std::string recovered_json(const FaultReport& report) {
  return dump(Json{{"event", "recovered"},
                   {"kind", report.kind},
                   {"step", report.step},
                   {"recovery_seconds", report.recovery_seconds}});
}

std::string assignment_json(const AssignmentReport& report) {
  return dump(Json{{"event", "assignment"},
                   {"step", report.step},
                   {"reason", report.reason},
                   {"micro_batches", report.micro_batches},
                   {"before", report.before},
                   {"seconds", report.seconds}});
}

std::string end_json(const Summary& summary) {
  return dump(Json{{"event", "end"},
                   {"status", text(summary.status)},
                   {"step", summary.steps},
                   {"epoch", summary.epochs},
                   {"weights_hash", summary.weights_hash}});
}

std::string summary_json(const Summary& summary) {
  Json faults = Json::array();
  for (const FaultReport& fault : summary.faults) faults.push_back(fault_object(fault));
  Json json{{"status", text(summary.status)},
            {"name", summary.name},
            {"dataset", summary.dataset},
            {"device_type", summary.device_type},
            {"devices", summary.devices},
            {"replicas", summary.replicas},
            {"micro_batches", summary.micro_batches},
            {"mode", summary.mode},
            {"reproducible", summary.reproducible},
            {"seed", summary.seed},
            {"parameters", summary.parameters},
            {"steps", summary.steps},
            {"epochs", summary.epochs},
            {"samples", summary.samples},
            {"wall_seconds", summary.wall_seconds},
            {"startup_seconds", summary.startup_seconds},
            {"train_seconds", summary.train_seconds},
            {"samples_per_second", summary.samples_per_second},
            {"final_loss", summary.final_loss},
            {"test_loss", summary.test_loss},
            {"test_accuracy", summary.test_accuracy},
            {"weights_hash", summary.weights_hash},
            {"shares",
             {{"data", summary.shares.data},
              {"compute", summary.shares.compute},
              {"reduce", summary.shares.reduce},
              {"wait", summary.shares.wait}}},
            {"peak_rss_bytes", summary.peak_rss_bytes},
            {"skipped_steps", summary.skipped_steps},
            {"faults", faults},
            {"version", version()}};
  if (!summary.error.empty()) json["error"] = summary.error;
  if (const std::optional<LocalSgdSummary>& local = summary.local_sgd) {
    json["local_sgd"] = {{"workers", local->workers}, {"sync_every", local->sync_every}, {"averages", local->averages}};
  }
  if (summary.async) {
    const AsyncReport& async = *summary.async;
    json["staleness"] = {{"max", async.max_staleness}, {"mean", async.mean_staleness}, {"histogram", async.histogram}};
    json["dropped"] = async.dropped;
    json["skipped_gradients"] = async.skipped;
    json["versions"] = async.versions;
    json["fallback_step"] = async.fallback_step < 0 ? Json() : Json(async.fallback_step);
  }
  add_loss_scale(json, summary.loss_scale);
  add_ema(json, summary.ema_test_loss, summary.ema_test_accuracy);
  return dump(json);
}

}  // namespace dptrain
