#include "kernels/cuda/plan.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda/library_status.h"

namespace dptrain::cuda {

namespace {

constexpr std::size_t kMostWorkspace = std::size_t{256} << 20;

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

bool allowed(const Notes& notes, const Context& context, Plan::Effort effort) {
  // On fp32 tensors a tensor core computes in TF32 at best; what is converted down goes to half precision.
  if (notes.has(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)) return false;
  if (notes.has(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return false;
  if (!context.tf32 && notes.has(CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) return false;
  if (context.reproducible && notes.has(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) return false;
  if (effort == Plan::Effort::any) return true;
  // Large tiles of Winograd's transform, and Fourier's, lose digits; compiling costs seconds at the start of a run and wants
  // another library of the toolkit.
  for (const auto note : {CUDNN_NUMERICAL_NOTE_FFT, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
                          CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13}) {
    if (notes.has(note)) return false;
  }
  return !notes.has(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
}

/// The configurations that a heuristic proposes, best first; none where it does not know the graph.
std::vector<Descriptor> configurations(const OperationGraph& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.get());
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
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

}  // namespace

std::optional<Plan> Plan::choose(Context& context, OperationGraph&& graph, Effort effort) {
  for (const Effort e : {Effort::preferred, Effort::any}) {
    if (e == Effort::any && effort != Effort::any) break;
    for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
      if (auto plan = choose_from(context, graph, mode, e)) return plan;
    }
  }
  return {};
}

std::optional<Plan> Plan::choose_from(Context& context, OperationGraph& graph, cudnnBackendHeurMode_t mode,
                                      Effort effort) {
  for (Descriptor& config : configurations(graph, mode)) {
    const Notes notes = notes_of(config);
    if (!allowed(notes, context, effort)) continue;
    Descriptor prepared(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    prepared.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &context.dnn);
    prepared.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config.get());
    if (prepared.try_finalize() != CUDNN_STATUS_SUCCESS) continue;  // an engine may find only now that it does not fit
    const auto workspace = static_cast<std::size_t>(prepared.get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
    if (effort == Effort::preferred && workspace > kMostWorkspace) continue;
    context.require_workspace(workspace);
    Plan plan(context, std::move(graph), std::move(config));
    plan.plan_ = std::move(prepared);
    plan.implementation_ = fmt::format("cudnn:engine{}", notes.engine);
    return plan;
  }
  return {};
}

void Plan::bind(std::span<const Binding> bindings) {
  std::vector<std::int64_t> names;
  std::vector<const void*> pointers;
  for (const Binding& b : bindings) {
    names.push_back(b.name);
    pointers.push_back(b.pointer);
  }
  void* workspace = context_->workspace.data();
  const auto count = static_cast<std::int64_t>(names.size());
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, names);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize("binding a convolution's tensors");
  pack_ = std::move(pack);
  bound_.assign(bindings.begin(), bindings.end());
  bound_workspace_ = workspace;
}

void Plan::run(std::span<const Binding> bindings) {
  if (!pack_ || bound_workspace_ != context_->workspace.data() || !std::ranges::equal(bound_, bindings)) bind(bindings);
  check(cudnnBackendExecute(context_->dnn, plan_.get(), pack_->get()), "a convolution");
}

}  // namespace dptrain::cuda
