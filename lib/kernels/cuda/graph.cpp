#include "kernels/cuda/graph.h"

#include "kernels/cuda/library_status.h"

namespace dptrain::cuda {

namespace {

constexpr const char* kDescribing = "describing an operation";
/// Activations and parameters lie at multiples of 64 bytes; engines ask for at most this of a tensor's first element.
constexpr std::int64_t kAlignment = 16;

cudnnDataType_t library_type(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return CUDNN_DATA_FLOAT;
    case ElementType::bfloat16:
      return CUDNN_DATA_BFLOAT16;
    case ElementType::float16:
      return CUDNN_DATA_HALF;
  }
  return CUDNN_DATA_FLOAT;
}

}  // namespace

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t handle = nullptr;
  check(cudnnBackendCreateDescriptor(type, &handle), kDescribing);
  handle_.reset(handle);
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                     const void* values) {
  check(cudnnBackendSetAttribute(get(), name, type, count, values), kDescribing);
}

void Descriptor::set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
  set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void Descriptor::finalize(const char* what) {
  check(cudnnBackendFinalize(get()), what);
}

std::int64_t Descriptor::get_int(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0, count = 0;
  check(cudnnBackendGetAttribute(get(), name, CUDNN_TYPE_INT64, 1, &count, &value), "asking about an operation");
  return value;
}

Descriptor& OperationGraph::make(cudnnBackendDescriptorType_t type) {
  return descriptors_.emplace_back(type);
}

OperationGraph::Tensor OperationGraph::tensor(std::int64_t name, const Extents& extents, ElementType type,
                                              bool intermediate) {
  const auto [n, c, h, w] = extents;
  const Extents strides{h * w * c, 1, w * c, c};
  Descriptor& d = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, name);
  d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, library_type(type));
  d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment);
  d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
  d.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  if (intermediate) d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  d.finalize("describing a tensor");
  return d.get();
}

cudnnBackendDescriptor_t OperationGraph::convolution_descriptor(const ConvolutionGeometry& geometry) {
  constexpr std::array<std::int64_t, 2> kDense{1, 1};
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;  // what networks call a convolution
  Descriptor& d = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, kDense);
  d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, geometry.stride);
  d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, geometry.padding);
  d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, geometry.padding);
  d.finalize("describing a convolution");
  return d.get();
}

cudnnBackendDescriptor_t OperationGraph::pointwise_descriptor(cudnnPointwiseMode_t mode) {
  Descriptor& d = make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  d.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  d.finalize("describing an element-wise operation");
  return d.get();
}

void OperationGraph::add_operation(Descriptor& operation) {
  operation.finalize("describing an operation on tensors");
  operations_.push_back(operation.get());
}

void OperationGraph::convolution(const ConvolutionGeometry& geometry, Tensor x, Tensor w, Tensor y) {
  const cudnnBackendDescriptor_t convolution = convolution_descriptor(geometry);
  Descriptor& d = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  add_operation(d);
}

void OperationGraph::convolution_backward_weights(const ConvolutionGeometry& geometry, Tensor x, Tensor dy, Tensor dw) {
  const cudnnBackendDescriptor_t convolution = convolution_descriptor(geometry);
  Descriptor& d = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, dy);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, dw);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f);
  add_operation(d);
}

void OperationGraph::convolution_backward_data(const ConvolutionGeometry& geometry, Tensor dy, Tensor w, Tensor dx) {
  const cudnnBackendDescriptor_t convolution = convolution_descriptor(geometry);
  Descriptor& d = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, dy);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, w);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f);
  d.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
  add_operation(d);
}

void OperationGraph::add(Tensor x, Tensor b, Tensor y) {
  const cudnnBackendDescriptor_t addition = pointwise_descriptor(CUDNN_POINTWISE_ADD);
  Descriptor& d = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, addition);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  add_operation(d);
}

void OperationGraph::relu(Tensor x, Tensor y) {
  const cudnnBackendDescriptor_t relu = pointwise_descriptor(CUDNN_POINTWISE_RELU_FWD);
  Descriptor& d = make(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, relu);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  d.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  add_operation(d);
}

void OperationGraph::finalize(cudnnHandle_t handle) {
  if (handle != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
             static_cast<std::int64_t>(operations_.size()), operations_.data());
  graph_.finalize("describing a graph of operations");
}

}  // namespace dptrain::cuda
