#include "kernels/cuda/engines.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/library_status.h"

namespace dptrain::cuda {

namespace {

// CUDNN_ATTR_ENGINEHEUR_DEVICEPROP and CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, which headers before cuDNN 9.8 do not
// name.
constexpr auto kHeuristicProperties = static_cast<cudnnBackendAttributeName_t>(204);
constexpr auto kPlanProperties = static_cast<cudnnBackendAttributeName_t>(407);

/// What an engine says of itself.
struct Notes {
  std::vector<cudnnBackendNumericalNote_t> numerical;
  std::vector<cudnnBackendBehaviorNote_t> behavior;
  std::int64_t engine = 0;

  bool has(cudnnBackendNumericalNote_t note) const { return std::ranges::count(numerical, note) != 0; }
  bool has(cudnnBackendBehaviorNote_t note) const { return std::ranges::count(behavior, note) != 0; }
};

template <class Note>
std::vector<Note> notes_of(const Descriptor& engine, cudnnBackendAttributeName_t name,
                           cudnnBackendAttributeType_t type) {
  constexpr std::int64_t kMost = 64;  // a newer library may know more notes than the header that this is built with
  std::vector<Note> notes(kMost);
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(engine.get(), name, type, kMost, &count, notes.data()), "asking about an engine");
  notes.resize(static_cast<std::size_t>(std::clamp<std::int64_t>(count, 0, kMost)));
  return notes;
}

Notes notes_of(const Descriptor& config) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                 &handle),
        "asking for an engine");
  Notes notes;
  notes.numerical =
      notes_of<cudnnBackendNumericalNote_t>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
  notes.behavior =
      notes_of<cudnnBackendBehaviorNote_t>(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE);
  notes.engine = engine.get_int(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
  return notes;
}

bool allowed(const Notes& notes, const EngineRules& rules, Effort effort) {
  // On fp32 tensors a tensor core computes in TF32 at best; what is converted down goes to half precision. Sums are in
  // fp32.
  if (notes.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)) return false;
  if (notes.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return false;
  if (!rules.tensor_cores && notes.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) return false;
  if (rules.reproducible && notes.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) return false;
  if (effort == Effort::any) return true;
  // Large tiles of Winograd's transform, and Fourier's, lose digits; compiling costs seconds at the start of a run and
  // wants another library of the toolkit.
  for (const auto note : {CUDNN_NUMERICAL_NOTE_FFT, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
                          CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13}) {
    if (notes.has(note)) return false;
  }
  return !notes.has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
}

/// The configurations that a heuristic proposes, best first; none where it does not know the graph.
std::vector<Descriptor> configurations(const OperationGraph& graph, const Target& target, cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.get());
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.properties != nullptr) heuristic.set(kHeuristicProperties, target.properties);
  if (heuristic.try_finalize() != CUDNN_STATUS_SUCCESS) return {};
  std::int64_t count = 0;
  check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                                 &count, nullptr),
        "asking for engines");
  std::vector<Descriptor> configs;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < count; ++i) {
    handles.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  }
  if (count == 0) return {};
  std::int64_t filled = 0;
  check(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count,
                                 &filled, handles.data()),
        "asking for engines");
  while (static_cast<std::int64_t>(configs.size()) > filled) configs.pop_back();
  return configs;
}

std::optional<Engine> choose_from(const OperationGraph& graph, const Target& target, const EngineRules& rules,
                                  Effort effort, cudnnBackendHeurMode_t mode) {
  for (Descriptor& config : configurations(graph, target, mode)) {
    const Notes notes = notes_of(config);
    if (!allowed(notes, rules, effort)) continue;
    Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (target.properties != nullptr)
      plan.set(kPlanProperties, target.properties);
    else
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config.get());
    if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) continue;  // an engine may find only now that it does not fit
    const auto workspace = static_cast<std::size_t>(plan.get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
    if (effort == Effort::preferred && workspace > rules.most_workspace) continue;
    return Engine{std::move(config), std::move(plan), workspace, fmt::format("cudnn:engine{}", notes.engine)};
  }
  return {};
}

}  // namespace

std::optional<Engine> choose_engine(const OperationGraph& graph, const Target& target, const EngineRules& rules,
                                    Effort effort) {
  for (const Effort e : {Effort::preferred, Effort::any}) {
    if (e == Effort::any && effort != Effort::any) break;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      if (auto engine = choose_from(graph, target, rules, e, mode)) return engine;
    }
  }
  return {};
}

}  // namespace dptrain::cuda
