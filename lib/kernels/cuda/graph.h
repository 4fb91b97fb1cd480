// Purpose: cuDNN's operation graphs through its backend interface: what is computed, as descriptors. plan.h chooses
//   what computes it.
// Thread safety: one thread. Invariants: every descriptor lives as long as its graph.
#pragma once

#include <cudnn.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/element_type.h"

namespace dptrain::cuda {

/// An owned backend descriptor.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);

  cudnnBackendDescriptor_t get() const { return handle_.get(); }
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values);
  void set(cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value);
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set(name, CUDNN_TYPE_DATA_TYPE, 1, &value); }
  void set(cudnnBackendAttributeName_t name, float value) { set(name, CUDNN_TYPE_FLOAT, 1, &value); }
  void set(cudnnBackendAttributeName_t name, bool value) { set(name, CUDNN_TYPE_BOOLEAN, 1, &value); }
  /// Errors: Error(failed) with `what`.
  void finalize(const char* what);
  /// The same where a refusal is an answer, not an error.
  cudnnStatus_t try_finalize() { return cudnnBackendFinalize(get()); }

  std::int64_t get_int(cudnnBackendAttributeName_t name) const;

 private:
  struct Destroy {
    void operator()(void* handle) const { cudnnBackendDestroyDescriptor(handle); }
  };
  std::unique_ptr<void, Destroy> handle_;
};

/// Extents in cuDNN's order: (N, C, H, W) of images, (out, in / groups, H, W) of weights. In memory the second comes
/// last.
using Extents = std::array<std::int64_t, 4>;

struct ConvolutionGeometry {
  std::array<std::int64_t, 2> stride{}, padding{};  // height, width
};

/// Operations of tensors with channels last, computed in fp32. Tensors are named by the numbers that Plan::run() gives
/// pointers for.
class OperationGraph {
 public:
  using Tensor = cudnnBackendDescriptor_t;

  /// Tensors are of this type where nothing else is said.
  explicit OperationGraph(ElementType type = ElementType::float32) : type_(type) {}
  ElementType type() const { return type_; }

  Tensor tensor(std::int64_t name, const Extents& extents) { return tensor(name, extents, type_, false); }
  Tensor tensor(std::int64_t name, const Extents& extents, ElementType type) {
    return tensor(name, extents, type, false);
  }
  /// A result that only operations of this graph read, and that is never stored; in fp32.
  Tensor intermediate(std::int64_t name, const Extents& extents) {
    return tensor(name, extents, ElementType::float32, true);
  }

  /// How many groups there are follows from the extents: the channels of x are a multiple of those of w.
  void convolution(const ConvolutionGeometry& geometry, Tensor x, Tensor w, Tensor y);
  void convolution_backward_weights(const ConvolutionGeometry& geometry, Tensor x, Tensor dy, Tensor dw);
  void convolution_backward_data(const ConvolutionGeometry& geometry, Tensor dy, Tensor w, Tensor dx);
  /// y = x + b; b has extents (1, C, 1, 1).
  void add(Tensor x, Tensor b, Tensor y);
  void relu(Tensor x, Tensor y);

  /// For the GPU of a handle; null: for one that is named later, by its description.
  void finalize(cudnnHandle_t handle);
  cudnnBackendDescriptor_t get() const { return graph_.get(); }

 private:
  Tensor tensor(std::int64_t name, const Extents& extents, ElementType type, bool intermediate);
  cudnnBackendDescriptor_t convolution_descriptor(const ConvolutionGeometry& geometry);
  cudnnBackendDescriptor_t pointwise_descriptor(cudnnPointwiseMode_t mode);
  Descriptor& make(cudnnBackendDescriptorType_t type);
  void add_operation(Descriptor& operation);

  ElementType type_;
  std::vector<Descriptor> descriptors_;
  std::vector<cudnnBackendDescriptor_t> operations_;
  Descriptor graph_{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

}  // namespace dptrain::cuda
