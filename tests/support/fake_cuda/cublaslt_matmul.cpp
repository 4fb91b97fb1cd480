// The product of the cuBLASLt double.
#include "support/fake_cuda/cublaslt_objects.h"
#include "support/fake_cuda/tf32.h"

using namespace fake_cublaslt;

extern "C" {

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
    fake_cuda::require_reachable(A, a.bytes(), device, "cuBLASLt's A");
    fake_cuda::require_reachable(B, b.bytes(), device, "cuBLASLt's B");
    fake_cuda::require_reachable(D, out.bytes(), device, "cuBLASLt's D");
    fake_cuda::require_reachable(workspace, workspaceSizeInBytes, device, "cuBLASLt's workspace");
    if (keep != 0) fake_cuda::require_reachable(C, c.bytes(), device, "cuBLASLt's C");
    if (biased(d.epilogue))
      fake_cuda::require_reachable(d.bias, s.rows * fake_cuda::bytes_of(out.type), device, "cuBLASLt's bias");
    fake_cuda::spoil_workspace(workspace, workspaceSizeInBytes);
    const bool tf32 = d.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    for (std::uint64_t row = 0; row < s.rows; ++row) {
      for (std::uint64_t column = 0; column < s.columns; ++column) {
        double sum = 0;
        for (std::uint64_t k = 0; k < s.depth; ++k) {
          const float x = fake_cuda::read(A, d.op_a == CUBLAS_OP_T ? a.place(k, row) : a.place(row, k), a.type);
          const float y = fake_cuda::read(B, d.op_b == CUBLAS_OP_T ? b.place(column, k) : b.place(k, column), b.type);
          sum += tf32 ? double{fake_cuda::to_tf32(x)} * fake_cuda::to_tf32(y) : double{x} * y;
        }
        const std::size_t place = out.place(row, column);
        float value = scale * static_cast<float>(sum);
        if (keep != 0) value += keep * fake_cuda::read(C, place, out.type);
        if (biased(d.epilogue)) value += fake_cuda::read(d.bias, row, out.type);
        if (relu(d.epilogue)) value = value > 0 ? value : 0;
        fake_cuda::write(D, place, out.type, value);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
