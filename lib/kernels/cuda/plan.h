// Purpose: what computes an operation graph: an engine of cuDNN, chosen by rule and prepared once, run on raw pointers.
// Thread safety: that of its Context. Invariants: the choice depends on the graph, the GPU's kind and cuDNN's version alone;
//   run() allocates nothing of ours as long as it is given the same pointers.
#pragma once

#include <optional>
#include <string>

#include "kernels/cuda/graph.h"
#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

class Plan {
 public:
  /// How far the rules may be stretched to find an engine at all. Engines that round inputs to TF32 in fp32, or that are not
  /// deterministic where reproducible, are never taken.
  enum class Effort {
    preferred,  ///< no compilation at run time, no transforms that lose digits, workspace within bounds
    any,        ///< these too, where there is nothing else
  };

  /// Takes the graph, finalised. Empty where no engine fits.
  static std::optional<Plan> choose(Context& context, OperationGraph&& graph, Effort effort);

  /// A tensor's name and where its memory is.
  struct Binding {
    std::int64_t name;
    const void* pointer;
    bool operator==(const Binding&) const = default;
  };
  void run(std::span<const Binding> bindings);
  /// Such as "cudnn:engine31".
  const std::string& implementation() const { return implementation_; }

 private:
  Plan(Context& context, OperationGraph&& graph, Descriptor&& config)
      : context_(&context), graph_(std::move(graph)), config_(std::move(config)) {}
  static std::optional<Plan> choose_from(Context& context, OperationGraph& graph, cudnnBackendHeurMode_t mode,
                                         Effort effort);
  void bind(std::span<const Binding> bindings);

  Context* context_;
  OperationGraph graph_;
  Descriptor config_;
  Descriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  std::optional<Descriptor> pack_;  // what run() was given last, as cuDNN wants it
  std::vector<Binding> bound_;
  void* bound_workspace_ = nullptr;
  std::string implementation_;
};

}  // namespace dptrain::cuda
