// cuDNN's functions: descriptors with their attributes, plans and their execution.
#include <algorithm>
#include <cstdlib>
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
  const char* wanted = std::getenv("FAKE_CUDNN_VERSION");
  return wanted == nullptr ? 91900 : std::strtoull(wanted, nullptr, 10);
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
  const Rule* rule = rule_of(object->type, attributeName);
  if (rule == nullptr) misuse("a cuDNN descriptor has no attribute " + std::to_string(attributeName));
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
      // The library announces more results than it then fills.
      *elementCount = requestedElementCount == 0 ? available + 1 : std::min(requestedElementCount, available);
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
      fake_cuda::require_reachable(pointers.at(name), tensor.bytes(), device, "a tensor of cuDNN's");
    fake_cuda::require_reachable(workspace, bytes, device, "cuDNN's workspace");
    fake_cuda::spoil_workspace(workspace, bytes);
    carry_out(steps, pointers, tf32);
  });
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
