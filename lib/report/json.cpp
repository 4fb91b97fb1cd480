#include "report/json.h"

#include <cmath>
#include <concepts>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/process.h"

namespace dptrain {

namespace {

using Json = nlohmann::ordered_json;  // keeps the order in which keys are written; dumps NaN and infinities as null

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
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

template <class T, class Of>
concept Same = std::same_as<std::remove_const_t<T>, Of>;

// What a summary holds, each key with its member: one list for the writer and for the reader, which `Io` is one of.

template <class Io>
void each_key(const Io& io, Same<TimeShares> auto& shares) {
  io("data", shares.data);
  io("compute", shares.compute);
  io("reduce", shares.reduce);
  io("wait", shares.wait);
}

template <class Io>
void each_key(const Io& io, Same<FaultReport> auto& fault) {
  io("kind", fault.kind);
  io("action", fault.action);
  io("step", fault.step);
  io.or_null("replica", fault.replica, -1);
  io.or_null("micro_batch", fault.micro_batch, -1);
  io.or_null("parameter", fault.parameter, std::string());
  io("message", fault.message);
  io("recovery_seconds", fault.recovery_seconds);
}

template <class Io>
void each_key(const Io& io, Same<LocalSgdSummary> auto& local) {
  io("workers", local.workers);
  io("sync_every", local.sync_every);
  io("averages", local.averages);
}

template <class Io>
void each_key(const Io& io, Same<LossScaleReport> auto& scaling) {
  io("scale", scaling.scale);
  io("skipped_steps", scaling.skipped_steps);
}

template <class Io>
void each_key(const Io& io, Same<AsyncReport> auto& async) {
  io.object("staleness", [&](const Io& staleness) {
    staleness("max", async.max_staleness);
    staleness("mean", async.mean_staleness);
    staleness("histogram", async.histogram);
  });
  io("dropped", async.dropped);
  io("skipped_gradients", async.skipped);
  io("versions", async.versions);
  io.or_null("fallback_step", async.fallback_step, std::int64_t{-1});
}

template <class Io>
void each_key(const Io& io, Same<Summary> auto& s) {
  io("status", s.status);
  io("name", s.name);
  io("dataset", s.dataset);
  io("device_type", s.device_type);
  io("devices", s.devices);
  io("replicas", s.replicas);
  io("micro_batches", s.micro_batches);
  io("mode", s.mode);
  io("reproducible", s.reproducible);
  io("seed", s.seed);
  io("parameters", s.parameters);
  io("steps", s.steps);
  io("epochs", s.epochs);
  io("samples", s.samples);
  io("wall_seconds", s.wall_seconds);
  io("startup_seconds", s.startup_seconds);
  io("train_seconds", s.train_seconds);
  io("samples_per_second", s.samples_per_second);
  io("final_loss", s.final_loss);
  io("test_loss", s.test_loss);
  io("test_accuracy", s.test_accuracy);
  io("weights_hash", s.weights_hash);
  io("shares", s.shares);
  io("peak_rss_bytes", s.peak_rss_bytes);
  io("skipped_steps", s.skipped_steps);
  io("faults", s.faults);
  std::string program = version();  // that wrote it
  io("version", program);
  if (io.has("error", !s.error.empty())) io("error", s.error);
  if (io.has("local_sgd", s.local_sgd)) io("local_sgd", *s.local_sgd);
  if (io.has("versions", s.async)) each_key(io, *s.async);
  if (io.has("loss_scale", s.loss_scale)) io("loss_scale", *s.loss_scale);
  if (io.has("ema_test_loss", !std::isnan(s.ema_test_loss))) {
    io("ema_test_loss", s.ema_test_loss);
    io("ema_test_accuracy", s.ema_test_accuracy);
  }
}

/// Members into an object.
struct Writer {
  Json& json;

  template <class T>
  void operator()(const char* key, const T& value) const {
    if constexpr (requires { each_key(*this, value); }) {
      each_key(Writer{json[key]}, value);
    } else {
      json[key] = value;
    }
  }
  void operator()(const char* key, RunStatus status) const { json[key] = text(status); }
  void operator()(const char* key, const std::vector<FaultReport>& faults) const {
    json[key] = Json::array();
    for (const FaultReport& fault : faults) each_key(Writer{json[key].emplace_back()}, fault);
  }
  /// A value that stands for "none" is written as null.
  template <class T>
  void or_null(const char* key, const T& value, const T& none) const {
    json[key] = value == none ? Json() : Json(value);
  }
  template <class Keys>
  void object(const char* key, const Keys& keys) const {
    keys(Writer{json[key]});
  }
  /// Whether there is anything to write under `key`, which is left out otherwise.
  static bool has(const char*, bool value) { return value; }
  template <class T>
  static bool has(const char*, const std::optional<T>& value) {
    return value.has_value();
  }
};

/// And out of it. Errors: Json::exception.
struct Reader {
  const Json& json;

  template <class T>
  void operator()(const char* key, T& value) const {
    if constexpr (requires { each_key(*this, value); }) {
      each_key(Reader{json.at(key)}, value);
    } else {
      json.at(key).get_to(value);
    }
  }
  void operator()(const char* key, double& number) const { or_null(key, number, not_known); }
  void operator()(const char* key, RunStatus& status) const {
    for (const RunStatus known : {RunStatus::done, RunStatus::expect_not_met, RunStatus::stopped, RunStatus::failed}) {
      if (json.at(key) == text(known)) status = known;
    }
  }
  void operator()(const char* key, std::vector<FaultReport>& faults) const {
    for (const Json& fault : json.at(key)) each_key(Reader{fault}, faults.emplace_back());
  }
  template <class T>
  void or_null(const char* key, T& value, const T& none) const {
    value = json.at(key).is_null() ? none : json.at(key).get<T>();
  }
  template <class Keys>
  void object(const char* key, const Keys& keys) const {
    keys(Reader{json.at(key)});
  }
  bool has(const char* key, bool) const { return json.contains(key); }
  template <class T>
  bool has(const char* key, std::optional<T>& value) const {
    if (json.contains(key)) value.emplace();
    return value.has_value();
  }
};

template <class Record>
Json object_of(const Record& record) {
  Json json;
  each_key(Writer{json}, record);
  return json;
}

/// What keeps this from being a summary, held against an empty one.
std::string fault_of_summary(const std::string& text_of_file) {
  const Json json = Json::parse(text_of_file, nullptr, false);
  if (json.is_discarded()) return "it is not valid JSON";
  if (!json.is_object()) return "it is not one JSON object";
  const Json whole = Json::parse(summary_json(Summary()));
  for (const auto& [key, value] : whole.items()) {
    if (!json.contains(key)) return fmt::format("{} is missing", key);
    const Json& found = json.at(key);
    const bool may_be_unknown = value.is_null() || value.is_number_float();
    const bool fits = (may_be_unknown && found.is_null()) ||
                      (may_be_unknown || value.is_number() ? found.is_number() : found.type() == value.type());
    if (!fits) return fmt::format("{} cannot be {}", key, found.dump());
  }
  return "a value is not of its kind";
}

}  // namespace

Summary parse_summary(const std::string& text_of_file, const std::string& file) {
  try {
    const Json json = Json::parse(text_of_file);
    Summary summary;
    each_key(Reader{json}, summary);
    return summary;
  } catch (const Json::exception&) {
    fail(ExitStatus::failed, "{}: is no summary of a run: {}", file, fault_of_summary(text_of_file));
  }
}

std::string start_json(const RunPlan& plan) {
  return dump(Json{{"event", "start"},
                   {"step", plan.first_step},
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
  if (report.loss_scale) json["loss_scale"] = object_of(*report.loss_scale);
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
  if (!std::isnan(report.ema_test_loss)) {  // keys that only runs with an average of the weights have
    json["ema_test_loss"] = report.ema_test_loss;
    json["ema_test_accuracy"] = report.ema_test_accuracy;
  }
  return dump(json);
}

std::string fault_json(const FaultReport& report) {
  Json json = object_of(report);
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
  return dump(object_of(summary));
}

}  // namespace dptrain
