// Which attributes the cuDNN double's descriptors have, and what is wrong with one that is finalised.
#include <set>

#include "support/fake_cuda/cudnn_objects.h"

namespace fake_cudnn {

namespace {

constexpr std::int64_t kMany = 64;

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

/// Every name is one descriptor's, and what no memory holds is the result of an earlier operation.
void check_graph(const Object& graph) {
  require_handle(graph.value<cudnnHandle_t>(CUDNN_ATTR_OPERATIONGRAPH_HANDLE));
  std::map<std::int64_t, Tensor> named;
  std::set<std::int64_t> computed;
  for (const Step& s : steps_of(graph)) {
    for (const Tensor* t : {&s.x, &s.w, &s.y}) {
      if (t == &s.w && s.type == kPointwiseOperation && !s.has_second) continue;
      const auto [place, fresh] = named.emplace(t->name, *t);
      if (!fresh &&
          (place->second.extents != t->extents || place->second.strides != t->strides || place->second.type != t->type))
        misuse("one name for two tensors");
    }
    if (s.x.intermediate && s.type != kBackwardData && !computed.contains(s.x.name))
      misuse("an intermediate tensor that nothing computes");
    computed.insert(s.type == kBackwardData ? s.x.name : s.type == kBackwardFilter ? s.w.name : s.y.name);
  }
}

}  // namespace

cudnnStatus_t finalize(Object& object) {
  for (const Rule& rule : kRules) {
    if (rule.owner == object.type && rule.required && !object.has(rule.name))
      misuse("a cuDNN descriptor is finalised without attribute " + std::to_string(rule.name));
  }
  switch (object.type) {
    case kTensor: {
      const Tensor t = tensor_of(object);
      const auto type = object.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE);
      if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_BFLOAT16 && type != CUDNN_DATA_HALF)
        misuse("the double knows fp32, fp16 and bf16 only");
      if (t.intermediate && t.type != Number::fp32) misuse("the double keeps intermediate tensors in fp32");
      for (std::size_t i = 0; i < 4; ++i) {
        if (t.extents[i] <= 0 || t.strides[i] <= 0) misuse("a tensor with an extent or stride of zero");
      }
      break;
    }
    case kConvolution:
      if (object.value<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT)
        misuse("the double takes a convolution's sums in fp32");
      if (object.value<std::int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS) != 2)
        misuse("the double convolves in two dimensions");
      break;
    case kPointwise:
      break;
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

bool is_operation(cudnnBackendDescriptorType_t type) {
  return type == kForward || type == kBackwardData || type == kBackwardFilter || type == kPointwiseOperation;
}

const Rule* rule_of(cudnnBackendDescriptorType_t owner, cudnnBackendAttributeName_t name) {
  for (const Rule& rule : kRules) {
    if (rule.owner == owner && rule.name == name) return &rule;
  }
  return nullptr;
}

}  // namespace fake_cudnn
