#include "kernels/cuda/product.h"

#include <array>
#include <initializer_list>

#include "core/error.h"
#include "kernels/cuda/library_status.h"

namespace dptrain::cuda {

namespace {

/// What NVIDIA recommends for Hopper; older GPUs want less.
constexpr std::uint64_t kMostWorkspace = std::uint64_t{32} << 20;
/// Flat buffers cut their ranges at multiples of 64 bytes; more than 16 no kernel asks of a matrix's first element.
constexpr std::uint32_t kAlignment = 16;

template <class Value>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value)), "describing a matrix product");
}
template <class Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)),
        "saying what a matrix product may use");
}
/// Zero where an algorithm does not say: what was asked of the heuristic holds without it.
template <class Value>
Value configured(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  Value value{};
  std::size_t written = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return status == CUBLAS_STATUS_SUCCESS ? value : Value{};
}

cudaDataType library_type(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return CUDA_R_32F;
    case ElementType::bfloat16:
      return CUDA_R_16BF;
    case ElementType::float16:
      return CUDA_R_16F;
  }
  return CUDA_R_32F;
}

cublasLtEpilogue_t library_epilogue(Product::Epilogue epilogue) {
  switch (epilogue) {
    case Product::Epilogue::none:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Product::Epilogue::bias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Product::Epilogue::relu:
      return CUBLASLT_EPILOGUE_RELU;
    case Product::Epilogue::bias_relu:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

}  // namespace

std::optional<Product> Product::prepare(Context& context, const ProductShape& shape, Epilogue epilogue,
                                        const ProductTypes& types) {
  context.require_workspace(kMostWorkspace);
  Product product(context, shape, epilogue, types);
  if (!product.choose()) return {};
  return product;
}

Product::Product(Context& context, const ProductShape& shape, Epilogue epilogue, const ProductTypes& types)
    : context_(&context),
      with_bias_(epilogue == Epilogue::bias || epilogue == Epilogue::bias_relu),
      output_(types.output) {
  cublasLtMatmulDesc_t description = nullptr;
  const bool tf32 = context.tf32 && types.inputs == ElementType::float32;
  check(cublasLtMatmulDescCreate(&description, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "creating a matrix product");
  description_.reset(description);
  const std::int32_t op_a = shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const std::int32_t op_b = shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, op_a);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, op_b);
  const std::uint32_t after = library_epilogue(epilogue);
  set(description, CUBLASLT_MATMUL_DESC_EPILOGUE, after);
  // The heuristic reads from this pointer's value how well the bias will be aligned, and nothing behind it.
  if (with_bias_) point_to_bias(static_cast<const char*>(context.workspace.data()) + kAlignment);
  const ElementType in = types.inputs;
  a_ = shape.transpose_a ? matrix(in, shape.depth, shape.rows) : matrix(in, shape.rows, shape.depth);
  b_ = shape.transpose_b ? matrix(in, shape.columns, shape.depth) : matrix(in, shape.depth, shape.columns);
  d_ = matrix(types.output, shape.rows, shape.columns);
}

Product::Matrix Product::matrix(ElementType type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, library_type(type), static_cast<std::uint64_t>(rows),
                                   static_cast<std::uint64_t>(columns), rows),
        "describing a matrix");
  return Matrix(layout);
}

Product::Preference Product::preference(std::uint32_t reduction_schemes) {
  cublasLtMatmulPreference_t made = nullptr;
  check(cublasLtMatmulPreferenceCreate(&made), "saying what a matrix product may use");
  Preference owned(made);
  set(made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
  for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(made, attribute, kAlignment);
  set(made, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction_schemes);
  return owned;
}

// cuBLAS promises the same bits in every run on the same kind of GPU; for cublasLtMatmul with a workspace of one's own
// that holds beside other streams too ("Results reproducibility" in its documentation). Where sums are cut into parts
// (split-K) the parts are added in one sequence, or stored in the workspace and added in a step of their own: the
// latter (COMPUTE_TYPE) has an order by construction. INPLACE adds to the output as counters allow, in an order that no
// document states: it is left out where bits matter, and for outputs of 16 bits, in which it would add. OUTPUT_TYPE
// adds parts that were rounded to the output's type, which is the same as COMPUTE_TYPE for fp32 and no sum in fp32 for
// 16 bits: it is always left out. NONE is no bit of the mask: it is asked for by itself too, in case a mask should
// exclude it.
bool Product::choose() {
  constexpr auto kAnyOrder = static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_INPLACE) |
                             static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  if (!context_->reproducible && output_ == ElementType::float32 && choose(kAnyOrder)) return true;
  return choose(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) || choose(CUBLASLT_REDUCTION_SCHEME_NONE);
}

bool Product::choose(std::uint32_t reduction_schemes) {
  constexpr int kCandidates = 16;
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
  int found = 0;
  const Preference wanted = preference(reduction_schemes);
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(context_->blas, description_.get(), a_.get(), b_.get(), d_.get(), d_.get(),
                                     wanted.get(), kCandidates, results.data(), &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
  check(status, "choosing what computes a matrix product");
  for (int i = 0; i < found; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = results[static_cast<std::size_t>(i)];
    if (result.state != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kMostWorkspace) continue;
    const auto scheme = configured<std::uint32_t>(result.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
    if ((scheme & ~reduction_schemes) != 0) continue;
    algorithm_ = result.algo;
    workspace_ = result.workspaceSize;
    implementation_ =
        fmt::format("cublaslt:{}:tile{}:split{}", configured<std::int32_t>(algorithm_, CUBLASLT_ALGO_CONFIG_ID),
                    configured<std::uint32_t>(algorithm_, CUBLASLT_ALGO_CONFIG_TILE_ID),
                    configured<std::int32_t>(algorithm_, CUBLASLT_ALGO_CONFIG_SPLITK_NUM));
    return true;
  }
  return false;
}

void Product::point_to_bias(const void* bias) {
  if (bias == bias_) return;
  set(description_.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  bias_ = bias;
}

namespace {

void check_aligned(std::initializer_list<const void*> pointers) {
  for (const void* pointer : pointers) {
    DPTRAIN_CHECK(reinterpret_cast<std::uintptr_t>(pointer) % kAlignment == 0,
                  "a matrix at {} is not at a multiple of {} bytes", pointer, kAlignment);
  }
}

}  // namespace

void Product::run(const void* a, const void* b, const void* bias, void* d) {
  if (with_bias_) {
    check_aligned({bias});
    point_to_bias(bias);
  }
  enqueue(1, a, b, 0, d, d);
}

void Product::run_onto(float alpha, const void* a, const void* b, float beta, const void* c, void* d) {
  DPTRAIN_CHECK(!with_bias_, "a product with a bias does not add to a matrix");
  enqueue(alpha, a, b, beta, c, d);
}

void Product::enqueue(float alpha, const void* a, const void* b, float beta, const void* c, void* d) {
  check_aligned({a, b, c, d});
  // The scalars are read before the call returns: the pointer mode is "host".
  check(cublasLtMatmul(context_->blas, description_.get(), &alpha, a, a_.get(), b, b_.get(), &beta, c, d_.get(), d,
                       d_.get(), &algorithm_, context_->workspace.data(), workspace_, context_->stream),
        "a matrix product");
}

}  // namespace dptrain::cuda
