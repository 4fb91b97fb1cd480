// cuDNN's functions: descriptors with their attributes, plans and their execution.
#include <algorithm>
#include <set>

#include "support/fake_cuda/cudnn_objects.h"

namespace fake_cudnn {

namespace {

struct State {
  std::recursive_mutex mutex;
  std::map<void*, std::shared_ptr<Object>> objects;
  std::set<cudnnHandle_t> handles;
  Options options;
};
State& global() {
  static State state;
  return state;
}
using Lock = std::lock_guard<std::recursive_mutex>;

std::size_t bytes_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
      return 8;
    case CUDNN_TYPE_BOOLEAN:
      return 1;
    default:
      return 4;
  }
}

/// An attribute that a kind of descriptor has. `kind` is what it nests; TENSOR where it nests nothing.
struct Rule {
  cudnnBackendDescriptorType_t owner;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  std::int64_t least, most;
  bool required;
  cudnnBackendDescriptorType_t kind = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
};
constexpr std::int64_t kMany = 64;

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

/// As cuDNN's documentation of the descriptors lists them.
constexpr Rule kRules[] = {
    {kTensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1, true},
    {kTensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {kTensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1, true},
    {kTensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, 4, true},
    {kTensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, 4, true},
    {kTensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2, true},
    {kConvolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2, true},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kNested, 1, 1, true, kConvolution},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, kNested, 1, 1, true},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, kNested, 1, 1, true},
    {kForward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, kNested, 1, 1, true},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, kNested, 1, 1, true, kConvolution},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, kNested, 1, 1, true},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, kNested, 1, 1, true},
    {kBackwardData, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, kNested, 1, 1, true},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1, true},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, kNested, 1, 1, true, kConvolution},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, kNested, 1, 1, true},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, kNested, 1, 1, true},
    {kBackwardFilter, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, kNested, 1, 1, true},
    {kPointwise, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, true},
    {kPointwise, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
    {kPointwiseOperation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kNested, 1, 1, true, kPointwise},
    {kPointwiseOperation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, kNested, 1, 1, true},
    {kPointwiseOperation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, kNested, 1, 1, false},
    {kPointwiseOperation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, kNested, 1, 1, true},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
    {kGraph, CUDNN_ATTR_OPERATIONGRAPH_OPS, kNested, 1, kMany, true, kForward},  // or another operation
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, kNested, 1, 1, true, kGraph},
    {kHeuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, true},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
    {kPlan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, kNested, 1, 1, true, kConfig},
    {kPack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, kMany, true},
    {kPack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, kMany, true},
    {kPack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, true},
};

bool is_operation(cudnnBackendDescriptorType_t type) {
  return type == kForward || type == kBackwardData || type == kBackwardFilter || type == kPointwiseOperation;
}

/// Every name is one descriptor's, and what no memory holds is the result of an earlier operation.
void check_graph(const Object& graph) {
  require_handle(graph.value<cudnnHandle_t>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE));
  std::map<std::int64_t, Tensor> named;
  std::set<std::int64_t> computed;
  for (const Step& s : steps_of(graph)) {
    for (const Tensor* t : {&s.x, &s.w, &s.y}) {
      if (t == &s.w && s.type == kPointwiseOperation && !s.has_second) continue;
      const auto [place, fresh] = named.emplace(t->name, *t);
      if (!fresh && (place->second.extents != t->extents || place->second.strides != t->strides))
        misuse("one name for two tensors");
    }
    if (s.x.intermediate && s.type != kBackwardData && !computed.contains(s.x.name))
      misuse("an intermediate tensor that nothing computes");
    computed.insert(s.type == kBackwardData ? s.x.name : s.type == kBackwardFilter ? s.w.name : s.y.name);
  }
}

cudnnStatus_t finalize(Object& object) {
  for (const Rule& rule : kRules) {
    if (rule.owner == object.type && rule.required && !object.has(rule.name))
      misuse("a cuDNN descriptor is finalised without attribute " + std::to_string(rule.name));
  }
  switch (object.type) {
    case kTensor: {
      const Tensor t = tensor_of(object);
      if (object.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) != CUDNN_DATA_FLOAT)
        misuse("the double knows fp32 only");
      for (std::size_t i = 0; i < 4; ++i) {
        if (t.extents[i] <= 0 || t.strides[i] <= 0) misuse("a tensor with an extent or stride of zero");
      }
      break;
    }
    case kConvolution:
      if (object.value<std::int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2)
        misuse("the double convolves in two dimensions");
      break;
    case kPointwise: break;
    case kForward:
    case kBackwardData:
    case kBackwardFilter:
    case kPointwiseOperation:
      step_of(object);
      break;
    case kGraph:
      check_graph(object);
      break;
    case kHeuristic: {
      const std::shared_ptr<Object> graph = object.nested(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
      object.graph = graph;
      std::vector<Engine> engines;
      if (!propose(*graph, object.value<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE), engines))
        return CUDNN_STATUS_NOT_SUPPORTED;
      break;
    }
    case kPlan: {
      require_handle(object.value<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE));
      const std::shared_ptr<Object> config = object.nested(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
      object.graph = config->graph;
      object.engine = config->engine;
      if (!object.engine.finalizes) return CUDNN_STATUS_NOT_SUPPORTED;
      break;
    }
    case kPack: {
      const auto names = object.values<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
      if (std::set(names.begin(), names.end()).size() != names.size()) misuse("a variant pack with a name twice");
      if (object.values<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size() != names.size())
        misuse("a variant pack with more names than pointers, or fewer");
      break;
    }
    default:
      misuse("a descriptor that is not finalised by hand");
  }
  object.finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

template <class Value>
void give(const std::vector<Value>& values, std::int64_t wanted, std::int64_t* count, void* to) {
  const auto number = std::min<std::int64_t>(wanted, static_cast<std::int64_t>(values.size()));
  if (number > 0) std::memcpy(to, values.data(), static_cast<std::size_t>(number) * sizeof(Value));
  if (count != nullptr) *count = static_cast<std::int64_t>(values.size());
}

/// Fills a descriptor that the caller has created for a result.
void fill(cudnnBackendDescriptor_t handle, cudnnBackendDescriptorType_t type, const std::weak_ptr<Object>& graph,
          const Engine& engine) {
  const std::shared_ptr<Object> object = object_of(handle);
  if (object->type != type || object->finalized) misuse("a result wants a fresh descriptor of its kind");
  object->graph = graph;
  object->engine = engine;
  object->finalized = true;
}

void require_type(cudnnBackendAttributeType_t given, cudnnBackendAttributeType_t right) {
  if (given != right) misuse("a cuDNN attribute has another type than was asked for");
}

}  // namespace

std::recursive_mutex& cudnn_mutex() {
  return global().mutex;
}
std::shared_ptr<Object> object_of(cudnnBackendDescriptor_t handle) {
  const auto found = global().objects.find(handle);
  if (found == global().objects.end()) misuse("a cuDNN descriptor that does not exist");
  return found->second;
}
void require_handle(cudnnHandle_t handle) {
  if (!global().handles.contains(handle)) misuse("a cuDNN handle that does not exist");
}
std::shared_ptr<Object> Object::nested(cudnnBackendAttributeName_t name, std::size_t index) const {
  std::shared_ptr<Object> object = attributes.at(name).nested.at(index).lock();
  if (!object) misuse("a cuDNN descriptor was destroyed while another needs it");
  return object;
}
Options options() {
  return global().options;
}
void set_options(const Options& options) {
  const Lock lock(global().mutex);
  global().options = options;
}
int live_objects() {
  const Lock lock(global().mutex);
  return static_cast<int>(global().objects.size() + global().handles.size());
}

}  // namespace fake_cudnn

using namespace fake_cudnn;

extern "C" {

std::size_t cudnnGetVersion(void) {
  return 91900;
}
const char* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "an error of the cuDNN double";
}
void cudnnGetLastErrorString(char* message, std::size_t max_size) {
  if (max_size > 0) message[0] = '\0';
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  const Lock lock(global().mutex);
  *handle = *global().handles.insert(new cudnnContext{fake_cuda::current_device(), nullptr}).first;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  const Lock lock(global().mutex);
  require_handle(handle);
  global().handles.erase(handle);
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t streamId) {
  const Lock lock(global().mutex);
  require_handle(handle);
  if (fake_cuda::device_of(streamId) != handle->device) misuse("a stream of another device than the handle's");
  handle->stream = streamId;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* streamId) {
  const Lock lock(global().mutex);
  require_handle(handle);
  *streamId = handle->stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t descriptorType,
                                           cudnnBackendDescriptor_t* descriptor) {
  const Lock lock(global().mutex);
  auto object = std::make_shared<Object>();
  object->type = descriptorType;
  *descriptor = object.get();
  global().objects.emplace(*descriptor, std::move(object));
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  const Lock lock(global().mutex);
  global().objects.erase(object_of(descriptor).get());
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  const Lock lock(global().mutex);
  const std::shared_ptr<Object> object = object_of(descriptor);
  if (object->finalized) misuse("a cuDNN descriptor is finalised twice");
  return finalize(*object);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t attributeName,
                                       cudnnBackendAttributeType_t attributeType, std::int64_t elementCount,
                                       const void* arrayOfElements) {
  const Lock lock(global().mutex);
  const std::shared_ptr<Object> object = object_of(descriptor);
  if (object->finalized) misuse("an attribute of a cuDNN descriptor is set after it was finalised");
  const auto rule =
      std::ranges::find_if(kRules, [&](const Rule& r) { return r.owner == object->type && r.name == attributeName; });
  if (rule == std::end(kRules)) misuse("a cuDNN descriptor has no attribute " + std::to_string(attributeName));
  require_type(attributeType, rule->type);
  if (elementCount < rule->least || elementCount > rule->most)
    misuse("a cuDNN attribute with a wrong number of elements");
  if (arrayOfElements == nullptr) misuse("a cuDNN attribute without elements");
  Attribute attribute;
  attribute.count = elementCount;
  const auto* bytes = static_cast<const unsigned char*>(arrayOfElements);
  attribute.bytes.assign(bytes, bytes + static_cast<std::size_t>(elementCount) * bytes_of(attributeType));
  for (std::int64_t i = 0; attributeType == kNested && i < elementCount; ++i) {
    const std::shared_ptr<Object> nested = object_of(static_cast<const cudnnBackendDescriptor_t*>(arrayOfElements)[i]);
    const bool right =
        attributeName == CUDNN_ATTR_OPERATIONGRAPH_OPS ? is_operation(nested->type) : nested->type == rule->kind;
    if (!right) misuse("a cuDNN descriptor of the wrong kind as an attribute");
    if (!nested->finalized) misuse("an unfinalised cuDNN descriptor as an attribute");
    attribute.nested.push_back(nested);
  }
  object->attributes[attributeName] = std::move(attribute);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t attributeName,
                                       cudnnBackendAttributeType_t attributeType, std::int64_t requestedElementCount,
                                       std::int64_t* elementCount, void* arrayOfElements) {
  const Lock lock(global().mutex);
  const std::shared_ptr<Object> object = object_of(descriptor);
  if (!object->finalized) misuse("an attribute of an unfinalised cuDNN descriptor is asked for");
  switch (attributeName) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
      require_type(attributeType, kNested);
      const std::shared_ptr<Object> graph = object->nested(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
      std::vector<Engine> engines;
      propose(*graph, object->value<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE), engines);
      const auto available = static_cast<std::int64_t>(engines.size());
      for (std::int64_t i = 0; i < std::min(requestedElementCount, available); ++i)
        fill(static_cast<cudnnBackendDescriptor_t*>(arrayOfElements)[i], kConfig, graph,
             engines[static_cast<std::size_t>(i)]);
      *elementCount = requestedElementCount == 0 ? available : std::min(requestedElementCount, available);
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE:
      require_type(attributeType, kNested);
      if (object->type != kConfig || requestedElementCount != 1) misuse("one engine of a configuration is asked for");
      fill(*static_cast<cudnnBackendDescriptor_t*>(arrayOfElements), kEngine, object->graph, object->engine);
      *elementCount = 1;
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      require_type(attributeType, CUDNN_TYPE_NUMERICAL_NOTE);
      give(object->engine.numerical, requestedElementCount, elementCount, arrayOfElements);
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
      require_type(attributeType, CUDNN_TYPE_BEHAVIOR_NOTE);
      give(object->engine.behavior, requestedElementCount, elementCount, arrayOfElements);
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
      require_type(attributeType, CUDNN_TYPE_INT64);
      give(std::vector{object->engine.index}, requestedElementCount, elementCount, arrayOfElements);
      return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      require_type(attributeType, CUDNN_TYPE_INT64);
      if (object->type != kPlan) misuse("the workspace of what is no plan is asked for");
      give(std::vector{static_cast<std::int64_t>(object->engine.workspace)}, requestedElementCount, elementCount,
           arrayOfElements);
      return CUDNN_STATUS_SUCCESS;
    default:
      misuse("an attribute that the cuDNN double does not answer for");
  }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t executionPlan,
                                  cudnnBackendDescriptor_t variantPack) {
  const Lock lock(global().mutex);
  require_handle(handle);
  const std::shared_ptr<Object> plan = object_of(executionPlan), pack = object_of(variantPack);
  if (plan->type != kPlan || pack->type != kPack)
    misuse("what is executed is no plan, or its pointers are no variant pack");
  if (!plan->finalized || !pack->finalized) misuse("an unfinalised plan or variant pack is executed");
  if (plan->value<cudnnHandle_t>(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) != handle) misuse("a plan of another handle");
  plan->nested(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  const std::shared_ptr<Object> graph = plan->graph.lock();
  if (!graph) misuse("a plan's graph was destroyed");
  const std::vector<Step> steps = steps_of(*graph);
  const auto names = pack->values<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto addresses = pack->values<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  std::map<std::int64_t, void*> pointers;
  for (std::size_t i = 0; i < names.size(); ++i) pointers[names[i]] = addresses[i];
  std::map<std::int64_t, Tensor> tensors;
  for (const Step& s : steps) {
    for (const Tensor* t : {&s.x, &s.w, &s.y}) {
      const bool absent = t->extents[0] == 0;  // a second input
      if (!t->intermediate && !absent) tensors.emplace(t->name, *t);
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!pointers.contains(name)) misuse("a tensor without a pointer");
    if (reinterpret_cast<std::uintptr_t>(pointers[name]) % static_cast<std::uintptr_t>(tensor.alignment) != 0)
      misuse("a tensor is not aligned as its descriptor says");
  }
  if (pointers.size() != tensors.size()) misuse("a pointer for a tensor that the graph does not have");
  void* workspace = pack->value<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  const std::size_t bytes = plan->engine.workspace;
  const bool tf32 = plan->engine.tensor_cores();
  fake_cuda::enqueue(handle->stream, [=, device = handle->device] {
    for (const auto& [name, tensor] : tensors)
      fake_cuda::require_reachable(pointers.at(name), tensor.floats() * sizeof(float), device, "a tensor of cuDNN's");
    fake_cuda::require_reachable(workspace, bytes, device, "cuDNN's workspace");
    if (bytes > 0) std::memset(workspace, 0xff, bytes);
    carry_out(steps, pointers, tf32);
  });
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
