#include "train/checkpoint/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/hash.h"
#include "core/magnitude.h"
#include "interop/safetensors.h"
#include "train/async/async_state.h"
#include "train/checkpoint/checked_folder.h"
#include "train/checkpoint/checkpoint_folders.h"
#include "train/checkpoint/first_weights.h"

namespace dptrain {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char *kModel = "model.safetensors", *kOptimizer = "optimizer.safetensors",
                     *kAverageFile = "ema.safetensors", *kState = "state.json";

[[noreturn]] void damaged(const fs::path& file, const std::string& what) {
  fail(ExitStatus::failed, "{}: {}", file.string(), what);
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

std::string state_text(const RunState& state) {
  Json basis = Json::object();
  for (const auto& [name, value] : state.basis) basis[name] = value;
  Json json{{"format", 1},
            {"step", state.step},
            {"seed", state.seed},
            {"weights_hash", state.weights_hash},
            {"basis", basis},
            {"train_samples", state.train_samples},
            {"train_seconds", number(state.train_seconds)},
            {"final_loss", number(state.final_loss)},
            {"test_loss", number(state.test_loss)},
            {"test_accuracy", number(state.test_accuracy)},
            {"ema_test_loss", number(state.ema_test_loss)},
            {"ema_test_accuracy", number(state.ema_test_accuracy)},
            {"evaluated_step", state.evaluated_step},
            {"best_step", state.best_step},
            {"best_metric", number(state.best_metric)},
            {"lr_factor", state.lr_factor},
            {"rollbacks", state.rollbacks},
            {"skipped_steps", state.skipped_steps},
            {"skips_in_a_row", state.skips_in_a_row},
            {"rollback_steps", state.rollback_steps},
            {"failed_at", state.failed_at},
            {"spoilt", state.spoilt},
            {"job", state.job}};
  if (state.async) json["async"] = to_json_object(*state.async);
  if (state.averages >= 0) json["averages"] = state.averages;
  if (const auto& scale = state.loss_scale) {
    json["loss_scale"] = {
        {"scale", scale->scale}, {"good_steps", scale->good_steps}, {"skipped_steps", scale->skipped_steps}};
  }
  return json.dump(2) + "\n";
}

RunState parse_state(const std::string& text, const fs::path& file) {
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != 1) damaged(file, "is of a later version of dptrain");
    const auto real = [&](const char* key) { return json.at(key).is_null() ? not_known : json.at(key).get<double>(); };
    RunState state;
    state.step = json.at("step").get<std::int64_t>();
    state.seed = json.at("seed").get<std::uint64_t>();
    state.weights_hash = json.at("weights_hash").get<std::string>();
    for (const auto& [name, value] : json.at("basis").items()) state.basis.emplace_back(name, value.get<std::string>());
    state.train_seconds = real("train_seconds");
    state.final_loss = real("final_loss");
    state.test_loss = real("test_loss");
    state.test_accuracy = real("test_accuracy");
    if (json.contains("ema_test_loss")) {
      state.ema_test_loss = real("ema_test_loss");
      state.ema_test_accuracy = real("ema_test_accuracy");
    }
    state.evaluated_step = json.at("evaluated_step").get<std::int64_t>();
    state.best_step = json.at("best_step").get<std::int64_t>();
    state.best_metric = real("best_metric");
    state.train_samples = json.value("train_samples", std::int64_t{-1});
    state.lr_factor = json.value("lr_factor", 1.0);  // not there in the first checkpoints of this format
    state.rollbacks = json.value("rollbacks", std::int64_t{0});
    state.skipped_steps = json.value("skipped_steps", std::int64_t{0});
    state.skips_in_a_row = json.value("skips_in_a_row", std::int64_t{0});
    if (json.contains("async")) state.async = async_state_of(json.at("async"));
    state.averages = json.value("averages", state.averages);
    if (json.contains("loss_scale")) {
      const Json& scale = json.at("loss_scale");
      state.loss_scale = LossScaleState{
          .scale = scale.at("scale"), .good_steps = scale.at("good_steps"), .skipped_steps = scale.at("skipped_steps")};
    }
    state.rollback_steps = json.value("rollback_steps", std::vector<std::int64_t>{});
    state.failed_at = json.value("failed_at", std::int64_t{-1});
    state.spoilt = json.value("spoilt", state.spoilt);
    state.job = json.at("job").get<std::string>();
    return state;
  } catch (const Json::exception& error) {
    damaged(file, fmt::format("is no state of a run: {}", error.what()));
  }
}

void write_tensors(std::ostream& out, const std::vector<Snapshot::Tensor>& tensors) {
  std::vector<SafeTensorView> views;
  for (const Snapshot::Tensor& tensor : tensors)
    views.push_back({tensor.name, tensor.shape, std::span<const float>(tensor.values)});
  write_safetensors(out, std::move(views), {{"format", "pt"}});
}

std::vector<Snapshot::Tensor> floats_of(SafetensorsFile read) {
  std::vector<Snapshot::Tensor> tensors;
  for (auto& [name, tensor] : read.tensors) {
    auto* values = std::get_if<std::vector<float>>(&tensor.values);
    if (values == nullptr) damaged(read.source, fmt::format("{} is not of type F32", name));
    tensors.push_back({name, tensor.shape, std::move(*values)});
  }
  return tensors;
}

std::vector<Snapshot::Tensor> read_tensors(const FolderReader& files, const fs::path& file) {
  const std::string bytes = files.read(file.filename().string());
  return floats_of(parse_safetensors(std::as_bytes(std::span(bytes)), file.string()));
}

/// What `fill` puts into the folder, the state, and the manifest.
void publish_checkpoint(const fs::path& run_folder, const RunState& state,
                        const std::function<void(FolderWriter&)>& fill) {
  const fs::path final = checkpoint_folder(run_folder, state.step);
  const fs::path temporary = final.parent_path() / fmt::format(".{}.tmp", final.filename().string());
  try {
    FolderWriter files(temporary);
    fill(files);
    files.write(kState, [&](std::ostream& out) { out << state_text(state); });
    files.seal();
    replace_checkpoint(temporary, final);
  } catch (...) {  // memory may run out, too
    std::error_code ignored;
    fs::remove_all(temporary, ignored);  // on a full disk its space may be what the next one needs
    throw;
  }
}

std::string extents(const std::vector<std::int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

/// The tensors `prefix`+name of all parameters, each into `flat`; whatever else is there is counted.
std::size_t fill(const std::vector<Snapshot::Tensor>& tensors, const std::string& prefix, const ParameterTable& table,
                 float* flat, const fs::path& file, ExitStatus status) {
  std::map<std::string_view, const Snapshot::Tensor*> by_name;
  for (const Snapshot::Tensor& tensor : tensors) by_name[tensor.name] = &tensor;
  std::size_t used = 0;
  for (const Parameter& parameter : table.all()) {
    const std::string name = prefix + parameter.name;
    const auto found = by_name.find(name);
    if (found == by_name.end()) fail(status, "{}: there is no tensor {}, which this model has", file.string(), name);
    if (found->second->shape != parameter.desc.shape.extents()) {
      fail(status, "{}: {} is {}, and this model's is {}", file.string(), name, extents(found->second->shape),
           extents(parameter.desc.shape.extents()));
    }
    table.set_canonical(parameter, found->second->values.data(), flat);
    ++used;
  }
  return used;
}

}  // namespace

Snapshot take_snapshot(const ParameterTable& table, const float* parameters,
                       const std::vector<std::string>& state_names, const std::vector<const float*>& states,
                       RunState state) {
  Snapshot snapshot;
  Hash128 hash;
  for (const Parameter* p : table.by_name()) {
    snapshot.model.push_back({p->name, p->desc.shape.extents(), table.canonical(*p, parameters)});
    const std::vector<float>& values = snapshot.model.back().values;
    hash.update(values.data(), values.size() * sizeof(float));
    for (std::size_t k = 0; k < states.size(); ++k) {
      const bool average = state_names[k] == kAverage;
      (average ? snapshot.average : snapshot.optimizer)
          .push_back({average ? p->name : fmt::format("{}.{}", state_names[k], p->name), p->desc.shape.extents(),
                      table.canonical(*p, states[k])});
    }
  }
  snapshot.state = std::move(state);
  snapshot.state.weights_hash = hash.hex();  // as ParameterTable::hash()
  return snapshot;
}

void write_checkpoint(const fs::path& run_folder, const Snapshot& snapshot) {
  publish_checkpoint(run_folder, snapshot.state, [&](FolderWriter& files) {
    files.write(kModel, [&](std::ostream& out) { write_tensors(out, snapshot.model); });
    if (!snapshot.optimizer.empty())
      files.write(kOptimizer, [&](std::ostream& out) { write_tensors(out, snapshot.optimizer); });
    if (!snapshot.average.empty())
      files.write(kAverageFile, [&](std::ostream& out) { write_tensors(out, snapshot.average); });
  });
}

void rewrite_state(const fs::path& run_folder, const RunState& state) {
  const fs::path final = checkpoint_folder(run_folder, state.step);
  const FolderReader there(final);
  publish_checkpoint(run_folder, state, [&](FolderWriter& files) {
    for (const auto& [name, file] : there.files()) {
      if (name != kState) files.link(final, name, file);
    }
  });
}

std::vector<std::int64_t> kept_steps(const RunState& state) {
  std::vector<std::int64_t> steps = state.rollback_steps;
  steps.push_back(state.best_step);
  if (state.async) steps.push_back(state.async->recorded_from);
  return steps;
}

Checkpoint read_checkpoint(const fs::path& folder) {
  const FolderReader files(folder);
  for (const auto& [name, file] : files.files()) {
    if (name != kModel && name != kOptimizer && name != kAverageFile && name != kState)
      damaged(folder / name, "is a file that checkpoints do not have");
  }
  Checkpoint checkpoint{folder, {}};
  checkpoint.snapshot.state = parse_state(files.read(kState), folder / kState);
  checkpoint.snapshot.model = read_tensors(files, folder / kModel);
  if (files.contains(kOptimizer)) checkpoint.snapshot.optimizer = read_tensors(files, folder / kOptimizer);
  if (files.contains(kAverageFile)) checkpoint.snapshot.average = read_tensors(files, folder / kAverageFile);
  return checkpoint;
}

void Checkpoint::restore(const ParameterTable& table, float* parameters, const std::vector<std::string>& state_names,
                         const std::vector<float*>& states) const {
  const auto whole = [](std::size_t used, const std::vector<Snapshot::Tensor>& tensors, const fs::path& file) {
    if (used != tensors.size()) damaged(file, "holds tensors that this model and optimizer do not have");
  };
  whole(fill(snapshot.model, "", table, parameters, folder / kModel, ExitStatus::failed), snapshot.model,
        folder / kModel);
  std::size_t used = 0, averaged = 0;
  for (std::size_t k = 0; k < states.size(); ++k) {
    if (state_names[k] == kAverage) {
      averaged += fill(snapshot.average, "", table, states[k], folder / kAverageFile, ExitStatus::failed);
      continue;
    }
    used += fill(snapshot.optimizer, fmt::format("{}.", state_names[k]), table, states[k], folder / kOptimizer,
                 ExitStatus::failed);
  }
  whole(used, snapshot.optimizer, folder / kOptimizer);
  whole(averaged, snapshot.average, folder / kAverageFile);
}

void init_from(const fs::path& file, const ParameterTable& table, float* parameters) {
  const std::vector<Snapshot::Tensor> tensors = floats_of(read_first_weights(file));
  const std::size_t used = fill(tensors, "", table, parameters, file, ExitStatus::usage);
  if (used != tensors.size())
    fail(ExitStatus::usage, "{}: holds {} tensors, and this model has {}", file.string(), tensors.size(), used);
  if (!std::isfinite(largest_magnitude(parameters, table.floats())))
    fail(ExitStatus::usage, "{}: holds values that are not finite", file.string());
}

}  // namespace dptrain
