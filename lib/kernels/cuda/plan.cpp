#include "kernels/cuda/plan.h"

#include <algorithm>

#include "kernels/cuda/library_status.h"

namespace dptrain::cuda {

std::optional<Plan> Plan::choose(Context& context, OperationGraph&& graph, Effort effort) {
  std::optional<Engine> engine = choose_engine(graph, {.handle = context.dnn},
                                               {.tensor_cores = context.tf32 || graph.type() != ElementType::float32,
                                                .reproducible = context.reproducible,
                                                .most_workspace = context.most_workspace},
                                               effort);
  if (!engine) return {};
  context.require_workspace(engine->workspace);
  return Plan(context, std::move(graph), std::move(*engine));
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
  check(cudnnBackendExecute(context_->dnn, engine_.plan.get(), pack_->get()), "a convolution");
}

}  // namespace dptrain::cuda
