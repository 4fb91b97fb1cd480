// Purpose: makers of the GPU's operations, one file each, and what they share.
// Thread safety: the thread of the Kernels they belong to. Invariants: operations enqueue on the context's stream and
//   never wait, except in prepare(); their arguments do not change between steps, so a step can be captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "device/buffer.h"
#include "kernels/kernels.h"

struct cublasLtContext;  // cublasLtHandle_t points to one
struct cudnnContext;     // cudnnHandle_t does

namespace dptrain::cuda {

/// What the operations of one Kernels share.
struct Context {
  /// Opens the libraries on the current device. Errors: Error(failed) with the library's reason.
  Context(cudaStream_t stream, bool tf32, bool reproducible);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream;
  bool tf32;          ///< products and convolutions may round their inputs to TF32
  bool reproducible;  ///< only what gives the same bits in every run
  cublasLtContext* blas = nullptr;
  cudnnContext* dnn = nullptr;  ///< its stream is `stream`
  Buffer workspace;             ///< shared by all operations: they run one after another on one stream
  std::size_t most_workspace;   ///< bytes that a convolution may ask for: a share of all memory of this kind of GPU

  /// Makes the workspace at least this large; in prepare() only. Its address may change: read it at each call.
  void require_workspace(std::size_t bytes);

 private:
  void close() noexcept;
};

/// A tensor that is known to hold floats.
inline const float* floats(const void* tensor) {
  return static_cast<const float*>(tensor);
}
inline float* floats(void* tensor) {
  return static_cast<float*>(tensor);
}

std::unique_ptr<AffineOperation> make_linear(Context& context, const LinearConfig& config);
std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config);
std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec);
std::unique_ptr<UnaryOperation> make_activation(Context& context, const TensorDesc& input, const ActivationSpec& spec);
std::unique_ptr<UnaryOperation> make_softmax(Context& context, const TensorDesc& input);
std::unique_ptr<NormOperation> make_norm(Context& context, const NormConfig& config);
std::unique_ptr<AddOperation> make_add(Context& context, const AddConfig& config);
std::unique_ptr<UnaryOperation> make_reorder_to_plain(Context& context, const TensorDesc& input, ElementType type);

}  // namespace dptrain::cuda
