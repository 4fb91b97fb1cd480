#include "train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/durable_file.h"
#include "core/error.h"
#include "core/hash.h"
#include "interop/safetensors.h"

namespace dptrain {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char *kModel = "model.safetensors", *kOptimizer = "optimizer.safetensors", *kState = "state.json",
                     *kManifest = "manifest.json", *kFolders = "checkpoints", *kPrefix = "step-";

[[noreturn]] void damaged(const fs::path& file, const std::string& what) {
  fail(ExitStatus::failed, "{}: {}", file.string(), what);
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  if (!in.good() && !in.eof()) damaged(file, "cannot be read");
  if (!fs::exists(file)) damaged(file, "is missing");
  return text;
}

std::string hash_of(std::string_view bytes) {
  Hash128 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

std::string state_text(const RunState& state) {
  Json basis = Json::object();
  for (const auto& [name, value] : state.basis) basis[name] = value;
  const Json json{{"format", 1},
                  {"step", state.step},
                  {"seed", state.seed},
                  {"weights_hash", state.weights_hash},
                  {"basis", basis},
                  {"train_seconds", number(state.train_seconds)},
                  {"final_loss", number(state.final_loss)},
                  {"test_loss", number(state.test_loss)},
                  {"test_accuracy", number(state.test_accuracy)},
                  {"best_step", state.best_step},
                  {"best_metric", number(state.best_metric)},
                  {"job", state.job}};
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
    state.best_step = json.at("best_step").get<std::int64_t>();
    state.best_metric = real("best_metric");
    state.job = json.at("job").get<std::string>();
    return state;
  } catch (const Json::exception& error) {
    damaged(file, fmt::format("is no state of a run: {}", error.what()));
  }
}

void write_tensors(const fs::path& file, const std::vector<Snapshot::Tensor>& tensors) {
  std::vector<SafeTensorView> views;
  for (const Snapshot::Tensor& tensor : tensors)
    views.push_back({tensor.name, tensor.shape, std::span<const float>(tensor.values)});
  write_safetensors(file, std::move(views), {{"format", "pt"}});
}

std::vector<Snapshot::Tensor> read_tensors(const fs::path& file) {
  SafetensorsFile read = read_safetensors(file);
  std::vector<Snapshot::Tensor> tensors;
  for (auto& [name, tensor] : read.tensors) {
    auto* values = std::get_if<std::vector<float>>(&tensor.values);
    if (values == nullptr) damaged(file, fmt::format("{} is not of type F32", name));
    tensors.push_back({name, tensor.shape, std::move(*values)});
  }
  return tensors;
}

/// Every file against its length and hash in the manifest; nothing else is in the folder.
void check_manifest(const fs::path& folder) {
  const fs::path file = folder / kManifest;
  try {
    const std::string text = read_file(file);
    const Json manifest = Json::parse(text);
    if (text != manifest.dump(2) + "\n") damaged(file, "is not as it was written");  // white space changed, say
    const Json& files = manifest.at("files");
    if (manifest.at("hash") != hash_of(files.dump())) damaged(file, "does not have the hash that it names");
    std::set<std::string> expected{kManifest};
    for (const auto& [name, entry] : files.items()) {
      expected.insert(name);
      const std::string bytes = read_file(folder / name);
      const auto length = entry.at("bytes").get<std::uint64_t>();
      if (bytes.size() != length)
        damaged(folder / name, fmt::format("has {} bytes instead of {}", bytes.size(), length));
      if (hash_of(bytes) != entry.at("xxh3_128").get<std::string>())
        damaged(folder / name, "its bytes are not those that were written");
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!expected.contains(entry.path().filename().string())) damaged(entry.path(), "is not in the manifest");
    }
    for (const char* name : {kModel, kState}) {
      if (!expected.contains(name)) damaged(file, fmt::format("does not name {}", name));
    }
  } catch (const Json::exception& error) {
    damaged(file, fmt::format("is no manifest: {}", error.what()));
  } catch (const fs::filesystem_error& error) {
    damaged(folder, error.code().message());
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
      snapshot.optimizer.push_back(
          {fmt::format("{}.{}", state_names[k], p->name), p->desc.shape.extents(), table.canonical(*p, states[k])});
    }
  }
  snapshot.state = std::move(state);
  snapshot.state.weights_hash = hash.hex();  // as ParameterTable::hash()
  return snapshot;
}

std::vector<std::int64_t> checkpoint_steps(const fs::path& run_folder) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run_folder / kFolders, error)) {
    const std::string name = entry.path().filename().string();
    std::int64_t step = 0;
    if (!name.starts_with(kPrefix)) continue;
    const char* end = name.data() + name.size();
    const auto [rest, problem] = std::from_chars(name.data() + std::string_view(kPrefix).size(), end, step);
    if (problem == std::errc() && rest == end) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

fs::path checkpoint_folder(const fs::path& run_folder, std::int64_t step) {
  return run_folder / kFolders / fmt::format("{}{}", kPrefix, step);
}

void write_checkpoint(const fs::path& run_folder, const Snapshot& snapshot) {
  const fs::path final = checkpoint_folder(run_folder, snapshot.state.step);
  const fs::path temporary = final.parent_path() / fmt::format(".{}.tmp", final.filename().string());
  try {
    fs::create_directories(temporary.parent_path());
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    write_tensors(temporary / kModel, snapshot.model);
    if (!snapshot.optimizer.empty()) write_tensors(temporary / kOptimizer, snapshot.optimizer);
    write_file_atomically(temporary / kState, state_text(snapshot.state));
    Json files = Json::object();
    for (const char* name : {kModel, kOptimizer, kState}) {
      if (!fs::exists(temporary / name)) continue;
      sync_to_disk(temporary / name);
      const std::string bytes = read_file(temporary / name);
      files[name] = {{"bytes", bytes.size()}, {"xxh3_128", hash_of(bytes)}};
    }
    const Json manifest{{"files", files}, {"hash", hash_of(files.dump())}};
    write_file_atomically(temporary / kManifest, manifest.dump(2) + "\n");
    sync_to_disk(temporary);
    fs::remove_all(final);
    publish(temporary, final);
  } catch (const fs::filesystem_error& error) {
    fail(ExitStatus::failed, "{}: the checkpoint cannot be saved: {}", final.string(), error.code().message());
  }
}

void prune_checkpoints(const fs::path& run_folder, std::int64_t keep, std::int64_t best_step) {
  std::error_code error;  // what cannot be removed costs space, no more
  const std::vector<std::int64_t> steps = checkpoint_steps(run_folder);
  for (std::size_t k = static_cast<std::size_t>(keep); k < steps.size(); ++k) {
    if (steps[k] == best_step) continue;
    // Renamed first: half of a folder must not look like a checkpoint.
    const fs::path folder = checkpoint_folder(run_folder, steps[k]);
    const fs::path leaving = folder.parent_path() / fmt::format(".{}.old", folder.filename().string());
    fs::rename(folder, leaving, error);
    fs::remove_all(error ? folder : leaving, error);
  }
  for (const auto& entry : fs::directory_iterator(run_folder / kFolders, error)) {
    if (entry.path().filename().string().starts_with('.')) fs::remove_all(entry.path(), error);
  }
}

Checkpoint read_checkpoint(const fs::path& folder) {
  check_manifest(folder);
  Checkpoint checkpoint{folder, {}};
  checkpoint.snapshot.state = parse_state(read_file(folder / kState), folder / kState);
  checkpoint.snapshot.model = read_tensors(folder / kModel);
  if (fs::exists(folder / kOptimizer)) checkpoint.snapshot.optimizer = read_tensors(folder / kOptimizer);
  return checkpoint;
}

std::optional<Checkpoint> newest_checkpoint(const fs::path& run_folder,
                                            const std::function<void(const std::string&)>& warn) {
  for (const std::int64_t step : checkpoint_steps(run_folder)) {
    const fs::path folder = checkpoint_folder(run_folder, step);
    try {
      Checkpoint checkpoint = read_checkpoint(folder);
      if (checkpoint.snapshot.state.step != step) damaged(folder / kState, "is of another step");
      return checkpoint;
    } catch (const Error& error) {
      warn(fmt::format("a damaged checkpoint is passed over: {}", error.what()));
    }
  }
  return std::nullopt;
}

void Checkpoint::restore(const ParameterTable& table, float* parameters, const std::vector<std::string>& state_names,
                         const std::vector<float*>& states) const {
  const auto whole = [](std::size_t used, const std::vector<Snapshot::Tensor>& tensors, const fs::path& file) {
    if (used != tensors.size()) damaged(file, "holds tensors that this model and optimizer do not have");
  };
  whole(fill(snapshot.model, "", table, parameters, folder / kModel, ExitStatus::failed), snapshot.model,
        folder / kModel);
  std::size_t used = 0;
  for (std::size_t k = 0; k < states.size(); ++k) {
    used += fill(snapshot.optimizer, fmt::format("{}.", state_names[k]), table, states[k], folder / kOptimizer,
                 ExitStatus::failed);
  }
  whole(used, snapshot.optimizer, folder / kOptimizer);
}

void init_from(const fs::path& file, const ParameterTable& table, float* parameters) {
  const std::vector<Snapshot::Tensor> tensors = read_tensors(file);
  const std::size_t used = fill(tensors, "", table, parameters, file, ExitStatus::usage);
  if (used != tensors.size())
    fail(ExitStatus::usage, "{}: holds {} tensors, and this model has {}", file.string(), tensors.size(), used);
}

}  // namespace dptrain
