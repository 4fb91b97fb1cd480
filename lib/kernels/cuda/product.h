// Purpose: one matrix product through cuBLASLt, prepared once and run on raw pointers.
// Thread safety: that of its Context. Invariants: nothing is allocated by run(); the same inputs give the same bits
//   where the context is reproducible.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

/// D = epilogue(op(A) op(B)), all column-major without gaps, as cuBLASLt likes them best: a row-major matrix is its own
/// transpose in these terms.
struct ProductShape {
  std::int64_t rows = 0, columns = 0;  ///< of D
  std::int64_t depth = 0;              ///< the length of the sums
  bool transpose_a = false, transpose_b = false;
};

/// Sums are taken in fp32 whatever the types are.
struct ProductTypes {
  ElementType inputs = ElementType::float32;  ///< of A and B
  ElementType output = ElementType::float32;  ///< of D and of the bias: the inputs' or fp32
};

class Product {
 public:
  /// What is done to D before it is stored. A bias has one element a row of D.
  enum class Epilogue { none, bias, relu, bias_relu };

  /// Chooses the first algorithm of the heuristic's list that fits the rules; empty where there is none, which may
  /// happen with an epilogue and then wants to be tried without.
  static std::optional<Product> prepare(Context& context, const ProductShape& shape, Epilogue epilogue,
                                        const ProductTypes& types = {});

  /// Device pointers at multiples of 16 bytes; `bias` is ignored where the epilogue has none.
  void run(const void* a, const void* b, const void* bias, void* d);
  /// D = alpha op(A) op(B) + beta C, where the epilogue is none; C lies as D does, and may be D.
  void run_onto(float alpha, const void* a, const void* b, float beta, const void* c, void* d);
  /// Such as "cublaslt:21:tile20:split1".
  const std::string& implementation() const { return implementation_; }

 private:
  template <class Handle, cublasStatus_t (*destroy)(Handle*)>
  struct Destroy {
    void operator()(Handle* handle) const { destroy(handle); }
  };
  using Description =
      std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy>>;
  using Matrix =
      std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy>>;
  using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t,
                                     Destroy<cublasLtMatmulPreferenceOpaque_t, cublasLtMatmulPreferenceDestroy>>;

  Product(Context& context, const ProductShape& shape, Epilogue epilogue, const ProductTypes& types);
  static Matrix matrix(ElementType type, std::int64_t rows, std::int64_t columns);
  static Preference preference(std::uint32_t reduction_schemes);
  bool choose();
  bool choose(std::uint32_t reduction_schemes);
  void point_to_bias(const void* bias);
  void enqueue(float alpha, const void* a, const void* b, float beta, const void* c, void* d);

  Context* context_;
  Description description_;
  Matrix a_, b_, d_;
  bool with_bias_;
  ElementType output_;
  const void* bias_ = nullptr;  // what the description points to now
  cublasLtMatmulAlgo_t algorithm_{};
  std::size_t workspace_ = 0;
  std::string implementation_;
};

}  // namespace dptrain::cuda
