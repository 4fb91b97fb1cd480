// cuBLASLt's functions but the product: descriptors and the heuristic.
#include <algorithm>

#include "support/fake_cuda/cublaslt_objects.h"
#include "support/fake_cuda/fake_cublaslt.h"

namespace fake_cublaslt {

void set_epilogues(bool known) {
  const std::lock_guard lock(global().mutex);
  global().epilogues = known;
}
int live_objects() {
  const std::lock_guard lock(global().mutex);
  return static_cast<int>(global().live.size());
}

}  // namespace fake_cublaslt

using namespace fake_cublaslt;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* lightHandle) {
  *lightHandle = born(new cublasLtContext{fake_cuda::current_device()});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t lightHandle) {
  return bury<cublasLtContext>(lightHandle, "a handle");
}
const char* cublasLtGetStatusName(cublasStatus_t /*status*/) {
  return "CUBLAS_STATUS";
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "the requested functionality is not supported"
                                               : "an error of the double";
}
std::size_t cublasLtGetVersion(void) {
  return 130000;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* matLayout, cudaDataType type, std::uint64_t rows,
                                          std::uint64_t cols, std::int64_t ld) {
  if (type != CUDA_R_32F && type != CUDA_R_16F && type != CUDA_R_16BF)
    misuse("the double knows fp32, fp16 and bf16 only");
  if (rows == 0 || cols == 0) misuse("an empty matrix");
  auto* layout = new Layout;
  layout->type = type == CUDA_R_32F ? Number::fp32 : type == CUDA_R_16F ? Number::fp16 : Number::bf16;
  layout->rows = rows, layout->columns = cols, layout->ld = ld;
  *matLayout = born(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t matLayout) {
  return bury<Layout>(matLayout, "a layout");
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t matLayout, cublasLtMatrixLayoutAttribute_t attr,
                                                const void* buf, std::size_t sizeInBytes) {
  Layout& layout = the<Layout>(matLayout, "a layout");
  if (attr == CUBLASLT_MATRIX_LAYOUT_ORDER) return assign(layout.order, buf, sizeInBytes);
  if (attr == CUBLASLT_MATRIX_LAYOUT_LD) return assign(layout.ld, buf, sizeInBytes);
  misuse("an attribute of layouts that the double does not know");
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* matmulDesc, cublasComputeType_t computeType,
                                        cudaDataType_t scaleType) {
  if (scaleType != CUDA_R_32F) misuse("sums in fp32 are scaled in fp32");
  auto* description = new Description;
  description->compute = computeType;
  *matmulDesc = born(description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmulDesc) {
  return bury<Description>(matmulDesc, "a product's description");
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmulDesc, cublasLtMatmulDescAttributes_t attr,
                                              const void* buf, std::size_t sizeInBytes) {
  Description& d = the<Description>(matmulDesc, "a product's description");
  switch (attr) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(d.op_a, buf, sizeInBytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(d.op_b, buf, sizeInBytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(d.epilogue, buf, sizeInBytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(d.bias, buf, sizeInBytes);
    default:
      misuse("an attribute of products that the double does not know");
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* pref) {
  *pref = born(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref) {
  return bury<Preference>(pref, "a preference");
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref,
                                                    cublasLtMatmulPreferenceAttributes_t attr, const void* buf,
                                                    std::size_t sizeInBytes) {
  Preference& p = the<Preference>(pref, "a preference");
  switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return assign(p.workspace, buf, sizeInBytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return assign(p.schemes, buf, sizeInBytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      return assign(p.alignment[0], buf, sizeInBytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      return assign(p.alignment[1], buf, sizeInBytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      return assign(p.alignment[2], buf, sizeInBytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(p.alignment[3], buf, sizeInBytes);
    default:
      misuse("a preference that the double does not know");
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t operationDesc,
                                              cublasLtMatrixLayout_t Adesc, cublasLtMatrixLayout_t Bdesc,
                                              cublasLtMatrixLayout_t Cdesc, cublasLtMatrixLayout_t Ddesc,
                                              cublasLtMatmulPreference_t preference, int requestedAlgoCount,
                                              cublasLtMatmulHeuristicResult_t heuristicResultsArray[],
                                              int* returnAlgoCount) {
  require_live(lightHandle, "a handle");
  const Description& d = the<Description>(operationDesc, "a product's description");
  const Layout &a = the<Layout>(Adesc, "a layout"), &b = the<Layout>(Bdesc, "a layout"),
               &c = the<Layout>(Cdesc, "a layout"), &out = the<Layout>(Ddesc, "a layout");
  const Preference& p = the<Preference>(preference, "a preference");
  sizes(d, a, b, c, out);
  if (biased(d.epilogue) && d.bias == nullptr) misuse("the heuristic reads a bias's alignment from its pointer");
  *returnAlgoCount = 0;
  if (d.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !global().epilogues) return CUBLAS_STATUS_NOT_SUPPORTED;
  // The first is what a caller who does not look at the states would take.
  const Algorithm known[] = {{66, 1, 20, CUBLASLT_REDUCTION_SCHEME_NONE},
                             {21, 4, 18, CUBLASLT_REDUCTION_SCHEME_INPLACE},
                             {31, 2, 15, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 0, 4u << 20},
                             {11, 1, 20, CUBLASLT_REDUCTION_SCHEME_NONE}};
  for (Algorithm algorithm : known) {
    if (*returnAlgoCount == requestedAlgoCount) break;
    if (algorithm.scheme != 0 && (algorithm.scheme & p.schemes) == 0) continue;
    if (algorithm.workspace > p.workspace) continue;
    algorithm.problem = hash(d, a, b, out);
    algorithm.bias_alignment = static_cast<std::uint32_t>(std::min<std::uint64_t>(alignment_of(d.bias), 256));
    for (std::size_t i = 0; i < 4; ++i) algorithm.alignment[i] = static_cast<std::uint16_t>(p.alignment[i]);
    cublasLtMatmulHeuristicResult_t& result = heuristicResultsArray[(*returnAlgoCount)++];
    std::memset(&result, 0, sizeof result);
    std::memcpy(&result.algo, &algorithm, sizeof algorithm);
    result.workspaceSize = algorithm.workspace;
    result.state = algorithm.id == 66 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attr, void* buf,
                                                    std::size_t sizeInBytes, std::size_t* sizeWritten) {
  const Algorithm algorithm = algorithm_of(algo);
  if (buf == nullptr || sizeInBytes != 4) misuse("a cuBLASLt attribute has another size than it was given");
  const void* value = attr == CUBLASLT_ALGO_CONFIG_ID           ? static_cast<const void*>(&algorithm.id)
                      : attr == CUBLASLT_ALGO_CONFIG_TILE_ID    ? static_cast<const void*>(&algorithm.tile)
                      : attr == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? static_cast<const void*>(&algorithm.splits)
                                                                : static_cast<const void*>(&algorithm.scheme);
  std::memcpy(buf, value, 4);
  if (sizeWritten != nullptr) *sizeWritten = 4;
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
