// Purpose: an operation graph and the engine that computes it, prepared once and run on raw pointers.
// Thread safety: that of its Context. Invariants: run() allocates nothing of ours as long as it is given the same
//   pointers.
#pragma once

#include "kernels/cuda/engines.h"
#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

class Plan {
 public:
  /// Takes the graph, finalised, and sees to the workspace. Empty where no engine fits.
  static std::optional<Plan> choose(Context& context, OperationGraph&& graph, Effort effort);

  /// A tensor's name and where its memory is.
  struct Binding {
    std::int64_t name;
    const void* pointer;
    bool operator==(const Binding&) const = default;
  };
  /// Every tensor of the graph that is stored, and no other.
  void run(std::span<const Binding> bindings);
  const std::string& implementation() const { return engine_.name; }

 private:
  Plan(Context& context, OperationGraph&& graph, Engine&& engine)
      : context_(&context), graph_(std::move(graph)), engine_(std::move(engine)) {}
  void bind(std::span<const Binding> bindings);

  Context* context_;
  OperationGraph graph_;
  Engine engine_;
  std::optional<Descriptor> pack_;  // what run() was given last, as cuDNN wants it
  std::vector<Binding> bound_;
  void* bound_workspace_ = nullptr;
};

}  // namespace dptrain::cuda
