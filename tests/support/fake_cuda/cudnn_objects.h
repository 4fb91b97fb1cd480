// Purpose: what the parts of the cuDNN double share: descriptors as they were given, and what they mean.
// Thread safety: under cudnn_mutex() unless said otherwise.
#pragma once

#include <cudnn.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/fake_cudnn.h"
#include "support/fake_cuda/numbers.h"

struct cudnnContext {
  int device = 0;
  cudaStream_t stream = nullptr;
};

namespace fake_cudnn {

using fake_cuda::misuse;
using fake_cuda::Number;

struct Object;

struct Attribute {
  std::int64_t count = 0;
  std::vector<unsigned char> bytes;
  std::vector<std::weak_ptr<Object>> nested;  ///< descriptors; whoever gave them must keep them alive
};

struct Engine {
  std::int64_t index = 0;
  std::vector<cudnnBackendNumericalNote_t> numerical;
  std::vector<cudnnBackendBehaviorNote_t> behavior;
  std::size_t workspace = 0;
  bool finalizes = true;

  bool tensor_cores() const;
};

struct Object {
  cudnnBackendDescriptorType_t type{};
  bool finalized = false;
  std::map<cudnnBackendAttributeName_t, Attribute> attributes;
  std::weak_ptr<Object> graph;  ///< of heuristics, configurations, engines and plans
  Engine engine;                ///< of configurations, engines and plans

  bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
  template <class Value>
  std::vector<Value> values(cudnnBackendAttributeName_t name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) misuse("a cuDNN descriptor lacks attribute " + std::to_string(name));
    std::vector<Value> values(static_cast<std::size_t>(found->second.count));
    std::memcpy(static_cast<void*>(values.data()), found->second.bytes.data(), found->second.bytes.size());
    return values;
  }
  template <class Value>
  Value value(cudnnBackendAttributeName_t name) const {
    Value value{};
    std::memcpy(&value, attributes.at(name).bytes.data(), sizeof value);
    return value;
  }
  std::shared_ptr<Object> nested(cudnnBackendAttributeName_t name, std::size_t index = 0) const;
};

std::recursive_mutex& cudnn_mutex();
std::shared_ptr<Object> object_of(cudnnBackendDescriptor_t handle);
void require_handle(cudnnHandle_t handle);
Options options();

constexpr auto kTensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
constexpr auto kConvolution = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
constexpr auto kForward = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
constexpr auto kBackwardData = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
constexpr auto kBackwardFilter = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
constexpr auto kPointwise = CUDNN_BACKEND_POINTWISE_DESCRIPTOR;
constexpr auto kPointwiseOperation = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR;
constexpr auto kGraph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR;
constexpr auto kHeuristic = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
constexpr auto kConfig = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
constexpr auto kEngine = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
constexpr auto kPlan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR;
constexpr auto kPack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
constexpr auto kNested = CUDNN_TYPE_BACKEND_DESCRIPTOR;

/// An attribute that a kind of descriptor has. `kind` is what it nests; TENSOR where it nests nothing.
struct Rule {
  cudnnBackendDescriptorType_t owner;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  std::int64_t least, most;
  bool required;
  cudnnBackendDescriptorType_t kind = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
};
/// Null where there is none.
const Rule* rule_of(cudnnBackendDescriptorType_t owner, cudnnBackendAttributeName_t name);
bool is_operation(cudnnBackendDescriptorType_t type);
cudnnStatus_t finalize(Object& object);

/// A tensor as its descriptor says.
struct Tensor {
  std::int64_t name = 0, alignment = 1;
  bool intermediate = false;
  Number type = Number::fp32;
  std::array<std::int64_t, 4> extents{}, strides{};
  std::size_t bytes() const { return places() * fake_cuda::bytes_of(type); }
  std::size_t places() const {
    std::int64_t last = 0;
    for (std::size_t i = 0; i < 4; ++i) last += (extents[i] - 1) * strides[i];
    return static_cast<std::size_t>(last + 1);
  }
};
Tensor tensor_of(const Object& descriptor);

/// An operation of a graph: what it reads and writes, and a convolution's geometry.
struct Step {
  cudnnBackendDescriptorType_t type{};
  cudnnPointwiseMode_t pointwise = CUDNN_POINTWISE_ADD;
  Tensor x, w, y;  ///< of a pointwise operation w is its second input
  bool has_second = false;
  std::array<std::int64_t, 2> stride{}, padding{}, dilation{};
  bool flipped = false;
  float alpha = 1, beta = 0;
};
/// Reads and checks an operation; throws Misuse where its tensors do not fit.
Step step_of(const Object& operation);
std::vector<Step> steps_of(const Object& graph);

/// Carries a graph out on memory: `pointers` of the tensors that are not intermediate, by name. Any thread, no lock.
void carry_out(const std::vector<Step>& steps, const std::map<std::int64_t, void*>& pointers, bool tf32);

/// The engines that a heuristic proposes for a graph; false where it does not know the graph.
bool propose(const Object& graph, cudnnBackendHeurMode_t mode, std::vector<Engine>& engines);

}  // namespace fake_cudnn
