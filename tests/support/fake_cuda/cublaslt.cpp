// cuBLASLt's functions: descriptors, the heuristic, and the product itself.
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "support/fake_cuda/fake_cublaslt.h"
#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/tf32.h"

using fake_cuda::misuse;

struct cublasLtContext {
  int device = 0;
};

namespace {

struct Layout : cublasLtMatrixLayoutOpaque_t {
  std::int32_t order = CUBLASLT_ORDER_COL;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t ld = 0;
  bool operator==(const Layout& o) const {
    return order == o.order && rows == o.rows && columns == o.columns && ld == o.ld;
  }
  std::size_t floats() const {
    const std::uint64_t lines = order == CUBLASLT_ORDER_COL ? columns : rows;
    const std::uint64_t length = order == CUBLASLT_ORDER_COL ? rows : columns;
    return static_cast<std::size_t>((lines - 1) * static_cast<std::uint64_t>(ld) + length);
  }
  std::size_t place(std::uint64_t row, std::uint64_t column) const {
    const auto step = static_cast<std::uint64_t>(ld);
    return static_cast<std::size_t>(order == CUBLASLT_ORDER_COL ? column * step + row : row * step + column);
  }
};

struct Description : cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  std::int32_t op_a = CUBLAS_OP_N, op_b = CUBLAS_OP_N;
  std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};

struct Preference : cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace = 0;
  std::uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::array<std::uint32_t, 4> alignment{256, 256, 256, 256};  // A, B, C, D
};

/// What an algorithm of the heuristic's list was made for; it is refused for anything else.
struct Algorithm {
  std::int32_t id = 0, splits = 1;
  std::uint32_t tile = 0, scheme = 0;
  std::uint32_t problem = 0;  // hash
  std::uint32_t workspace = 0, bias_alignment = 0;
  std::array<std::uint16_t, 4> alignment{};
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

Algorithm algorithm_of(const cublasLtMatmulAlgo_t* algo) {
  Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), algo, sizeof algorithm);
  return algorithm;
}

struct State {
  std::mutex mutex;
  std::set<const void*> live;
  bool epilogues = true;
};
State& global() {
  static State state;
  return state;
}

template <class Object>
Object* born(Object* object) {
  const std::lock_guard lock(global().mutex);
  global().live.insert(object);
  return object;
}
void require_live(const void* object, const char* what) {
  const std::lock_guard lock(global().mutex);
  if (!global().live.contains(object)) misuse(std::string("cuBLASLt is given ") + what + " that does not exist");
}
template <class Object, class Handle>
Object& the(Handle handle, const char* what) {
  auto* object = static_cast<Object*>(handle);
  require_live(object, what);
  return *object;
}
template <class Object, class Handle>
cublasStatus_t bury(Handle handle, const char* what) {
  Object& object = the<Object>(handle, what);
  const std::lock_guard lock(global().mutex);
  global().live.erase(&object);
  delete &object;
  return CUBLAS_STATUS_SUCCESS;
}

/// Copies an attribute's value where its size is right.
template <class Value>
cublasStatus_t assign(Value& to, const void* from, std::size_t bytes) {
  if (from == nullptr || bytes != sizeof to) misuse("a cuBLASLt attribute has another size than it was given");
  std::memcpy(&to, from, sizeof to);
  return CUBLAS_STATUS_SUCCESS;
}

bool relu(std::uint32_t epilogue) {
  return (epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
}
bool biased(std::uint32_t epilogue) {
  return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}
std::uint64_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return address & (~address + 1);
}

std::uint32_t hash(const Description& d, const Layout& a, const Layout& b, const Layout& out) {
  std::uint64_t h = 1469598103934665603u;
  for (const std::uint64_t word :
       {std::uint64_t{d.epilogue}, static_cast<std::uint64_t>(d.op_a), static_cast<std::uint64_t>(d.op_b),
        static_cast<std::uint64_t>(d.compute), a.rows, a.columns, b.rows, b.columns, out.rows, out.columns}) {
    h = (h ^ word) * 1099511628211u;
  }
  return static_cast<std::uint32_t>(h ^ (h >> 32));
}

struct Sizes {
  std::uint64_t rows, columns, depth;
};

Sizes sizes(const Description& d, const Layout& a, const Layout& b, const Layout& c, const Layout& out) {
  const bool ta = d.op_a == CUBLAS_OP_T, tb = d.op_b == CUBLAS_OP_T;
  const Sizes s{ta ? a.columns : a.rows, tb ? b.rows : b.columns, ta ? a.rows : a.columns};
  if ((tb ? b.columns : b.rows) != s.depth) misuse("a product of matrices whose inner extents differ");
  if (out.rows != s.rows || out.columns != s.columns) misuse("a product whose result has other extents");
  if (!(c == out)) misuse("the double wants C to lie as D does");
  for (const Layout* layout : {&a, &b, &c, &out}) {
    const std::uint64_t least = layout->order == CUBLASLT_ORDER_COL ? layout->rows : layout->columns;
    if (layout->ld < static_cast<std::int64_t>(least)) misuse("a matrix whose lines overlap");
  }
  if (biased(d.epilogue) && out.order != CUBLASLT_ORDER_COL) misuse("a bias has one element a row of a column-major D");
  return s;
}

}  // namespace

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
  if (type != CUDA_R_32F) misuse("the double knows fp32 only");
  if (rows == 0 || cols == 0) misuse("an empty matrix");
  auto* layout = new Layout;
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
  if (scaleType != CUDA_R_32F) misuse("fp32 is scaled in fp32");
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

cublasStatus_t cublasLtMatmul(cublasLtHandle_t lightHandle, cublasLtMatmulDesc_t computeDesc, const void* alpha,
                              const void* A, cublasLtMatrixLayout_t Adesc, const void* B, cublasLtMatrixLayout_t Bdesc,
                              const void* beta, const void* C, cublasLtMatrixLayout_t Cdesc, void* D,
                              cublasLtMatrixLayout_t Ddesc, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              std::size_t workspaceSizeInBytes, cudaStream_t stream) {
  require_live(lightHandle, "a handle");
  if (lightHandle->device != fake_cuda::device_of(stream)) misuse("a stream of another device than the handle's");
  const Description d = the<Description>(computeDesc, "a product's description");
  const Layout a = the<Layout>(Adesc, "a layout"), b = the<Layout>(Bdesc, "a layout"),
               c = the<Layout>(Cdesc, "a layout"), out = the<Layout>(Ddesc, "a layout");
  const Sizes s = sizes(d, a, b, c, out);
  if (algo == nullptr) misuse("no algorithm: cuBLASLt would choose one in each call");
  const Algorithm algorithm = algorithm_of(algo);
  if (algorithm.problem != hash(d, a, b, out)) misuse("an algorithm that was chosen for another product");
  if (workspaceSizeInBytes < algorithm.workspace) return CUBLAS_STATUS_INVALID_VALUE;
  const void* pointers[] = {A, B, C, D};
  for (std::size_t i = 0; i < 4; ++i) {
    if (alignment_of(pointers[i]) < algorithm.alignment[i]) misuse("a matrix is not aligned as the heuristic was told");
  }
  if (biased(d.epilogue) && alignment_of(d.bias) < algorithm.bias_alignment)
    misuse("a bias is not aligned as the heuristic was told");
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  const int device = lightHandle->device;
  fake_cuda::enqueue(stream, [=] {
    fake_cuda::require_reachable(A, a.floats() * sizeof(float), device, "cuBLASLt's A");
    fake_cuda::require_reachable(B, b.floats() * sizeof(float), device, "cuBLASLt's B");
    fake_cuda::require_reachable(D, out.floats() * sizeof(float), device, "cuBLASLt's D");
    fake_cuda::require_reachable(workspace, workspaceSizeInBytes, device, "cuBLASLt's workspace");
    if (keep != 0) fake_cuda::require_reachable(C, c.floats() * sizeof(float), device, "cuBLASLt's C");
    if (biased(d.epilogue)) fake_cuda::require_reachable(d.bias, s.rows * sizeof(float), device, "cuBLASLt's bias");
    if (workspaceSizeInBytes > 0) std::memset(workspace, 0xff, workspaceSizeInBytes);
    const auto* left = static_cast<const float*>(A);
    const auto* right = static_cast<const float*>(B);
    const bool tf32 = d.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    for (std::uint64_t row = 0; row < s.rows; ++row) {
      for (std::uint64_t column = 0; column < s.columns; ++column) {
        double sum = 0;
        for (std::uint64_t k = 0; k < s.depth; ++k) {
          const float x = left[d.op_a == CUBLAS_OP_T ? a.place(k, row) : a.place(row, k)];
          const float y = right[d.op_b == CUBLAS_OP_T ? b.place(column, k) : b.place(k, column)];
          sum += tf32 ? double{fake_cuda::to_tf32(x)} * fake_cuda::to_tf32(y) : double{x} * y;
        }
        const std::size_t place = out.place(row, column);
        float value = scale * static_cast<float>(sum);
        if (keep != 0) value += keep * static_cast<const float*>(C)[place];
        if (biased(d.epilogue)) value += static_cast<const float*>(d.bias)[row];
        if (relu(d.epilogue)) value = value > 0 ? value : 0;
        static_cast<float*>(D)[place] = value;
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
