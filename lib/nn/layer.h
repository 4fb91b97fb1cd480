// Purpose: one layer of a model: explicit forward and backward on views that it is given, nothing allocated on the way.
// Thread safety: one thread, that of its replica.
// Invariants: outputs and gradients are written, never accumulated; gradients are sums over the samples of the batch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "spec/job_spec.h"

namespace dptrain {

/// What a parameter is to the optimizer. A statistic is not trained: what a layer writes as its gradient is, summed
/// over the samples, the value that the step has seen, and the step moves the statistic towards the mean of that.
enum class ParameterRole { weight, bias, norm, statistic };

/// One parameter tensor of a layer. `name` is as in PyTorch ("weight", "bias").
struct ParameterDesc {
  std::string name;
  Shape shape;                     ///< canonical: linear (out, in), conv2d (out, in / groups, kh, kw), bias (out)
  std::int64_t stored_floats = 0;  ///< in the layout of the kernels, padding included
  std::int64_t fan_in = 1, fan_out = 1;
  Initialiser init = Initialiser::pytorch_default;
  ParameterRole role = ParameterRole::weight;
  double statistic_rate = 0.1;              ///< of a statistic: the part of the way that a step goes
  std::optional<float> start{};             ///< of every element; empty: as `init` says
  const AffineOperation* packer = nullptr;  ///< null: stored as it is

  /// Not trained: filters that whiten stay what they are.
  bool is_fixed() const { return role == ParameterRole::weight && init == Initialiser::whiten; }
};

/// What a pass over one batch needs besides its tensors, which lie in the memory of the layer's device.
struct Pass {
  Slot slot = 0;  ///< which prepared batch size
  std::int64_t batch = 0;
  bool training = true;
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t weights = 0;                      ///< their version: where it is another, they may be others
  const std::int64_t* step_on_device = nullptr;  ///< the same number where the device reads it; names random draws
  const std::int64_t* ids = nullptr;             ///< sample ids, batch of them, on the device
};

/// Where a layer's parameters and their gradients lie, in the order of parameters().
struct ParameterViews {
  std::vector<const float*> values;
  std::vector<float*> gradients;
};

/// Of a layer that needs sums over all micro-batches of a step: forward and backward each begin with a measurement of
/// one micro-batch, and run when they have been told what those of all come to, added up in the order of the tree.
class StepSums {
 public:
  virtual ~StepSums() = default;
  virtual std::int64_t floats() const = 0;  ///< of a measurement
  virtual void measure_forward(const Pass& pass, const void* x, float* part) = 0;
  virtual void measure_backward(const Pass& pass, const void* x, const void* dy, float* part) = 0;
  /// Two measurements together, those of neighbours; `both` may be a.
  virtual void merge_forward(const float* a, const float* b, float* both) const = 0;
  virtual void merge_backward(const float* a, const float* b, float* both) const = 0;
  virtual void tell_forward(const float* whole) = 0;
  virtual void tell_backward(const float* whole) = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;

  virtual const TensorDesc& output() const = 0;
  virtual std::vector<ParameterDesc> parameters() const { return {}; }
  /// Creates what this batch size needs; the k-th call makes slot k.
  virtual void prepare(std::int64_t batch) = 0;

  /// x (batch, input) -> y (batch, output); y == x where forward_in_place().
  virtual void forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) = 0;
  /// dy -> dx and parameter gradients; dx may be dy where backward_in_place(), and is where the layer passes through;
  /// it is null where nobody wants it.
  virtual void backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void* y, void* dy,
                        void* dx) = 0;

  /// What backward reads of the forward pass. Forward may run in place where this layer does not need its input and the
  /// layer before does not need its output.
  virtual bool backward_reads_input() const = 0;
  virtual bool backward_reads_output() const = 0;
  virtual bool can_forward_in_place() const { return false; }
  /// Forward and backward move nothing at all: output and input are one memory.
  virtual bool passes_through() const { return false; }
  virtual bool backward_in_place() const { return false; }

  /// Null where a pass needs nothing but its own micro-batch.
  virtual StepSums* step_sums() { return nullptr; }

  /// Memory of its own for copies of weights and tensors in another type or layout, in bytes; after prepare().
  virtual std::int64_t copy_bytes() const { return 0; }
  virtual std::vector<std::string> implementations() const { return {}; }
};

/// What a maker of layers knows: everything that is fixed before step 0.
struct LayerContext {
  Kernels& kernels;
  TensorDesc input;
  std::uint32_t index = 0;              ///< place in the model, see layer_shapes(); names random draws
  std::int64_t full_batch = 1;          ///< the batch size that decides layouts
  std::optional<ActivationSpec> fused;  ///< the activation behind it, computed in the same forward kernel
  bool fused_before = false;            ///< for an activation: forward is already done by the layer before
  bool input_gradient = true;           ///< whether backward is ever asked for dx: there are parameters before it
  AffineTypes types{};                  ///< of an affine layer; others work in the type of their input
};

/// The layer for a spec; shapes fit, infer_shapes has checked them.
std::unique_ptr<Layer> make_layer(const LayerSpec& spec, const LayerContext& context);

/// Whether an activation may be computed inside the kernels of the layer before it: of an affine one or a sum forward
/// alone, of a norm forward and backward.
bool can_fuse(const LayerSpec& layer, const LayerSpec& next);
/// Whether a layer takes its input as it lies in memory; otherwise a reorder to plain fp32 goes before it.
bool takes_layout(const LayerSpec& layer, const TensorDesc& input);

}  // namespace dptrain
