// Purpose: which engine of cuDNN computes an operation graph, chosen by rule from what its heuristics propose, in their
//   order.
// Thread safety: one thread. Invariants: the choice depends on the graph, the GPU's kind and cuDNN's version alone.
#pragma once

#include <optional>
#include <string>

#include "kernels/cuda/graph.h"

namespace dptrain::cuda {

struct EngineRules {
  bool tensor_cores = false;  ///< they may be used; fp32 inputs they round to TF32, 16 bits they take as they are
  bool reproducible = true;   ///< the same bits in every run
  /// Bytes, where the effort is `preferred`. In fp32 engines copy their tensors into another layout and want as much
  /// again; a tighter bound leaves slow ones alone.
  std::size_t most_workspace = std::size_t{4} << 30;
};

/// How far other rules may be stretched to find an engine at all. Engines that round inputs to TF32 in fp32, or that
/// are not deterministic where reproducible, are never taken.
enum class Effort {
  preferred,  ///< no compilation at run time, no transforms that lose digits, workspace within bounds
  any,        ///< these too, where there is nothing else
};

/// The GPU that an engine is chosen for: one that is there, by cuDNN's handle; or a description of one (a finalised
/// CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, cuDNN 9.8 and later), for which plans can be made and not run.
struct Target {
  cudnnHandle_t handle = nullptr;
  cudnnBackendDescriptor_t properties = nullptr;
};

struct Engine {
  Descriptor config, plan;
  std::size_t workspace = 0;  ///< bytes
  std::string name;           ///< such as "cudnn:engine31"
};

/// The graph must be finalised and outlive the engine. Empty where none fits.
std::optional<Engine> choose_engine(const OperationGraph& graph, const Target& target, const EngineRules& rules,
                                    Effort effort);

}  // namespace dptrain::cuda
