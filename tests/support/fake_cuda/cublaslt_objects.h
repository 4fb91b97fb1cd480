// Purpose: what the parts of the cuBLASLt double share. Thread safety: objects belong to their thread, the set of live
//   ones is locked.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/numbers.h"

struct cublasLtContext {
  int device = 0;
};

namespace fake_cublaslt {

using fake_cuda::misuse;
using fake_cuda::Number;

struct Layout : cublasLtMatrixLayoutOpaque_t {
  Number type = Number::fp32;
  std::int32_t order = CUBLASLT_ORDER_COL;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t ld = 0;
  bool operator==(const Layout& o) const {
    return type == o.type && order == o.order && rows == o.rows && columns == o.columns && ld == o.ld;
  }
  std::size_t bytes() const {
    const std::uint64_t lines = order == CUBLASLT_ORDER_COL ? columns : rows;
    const std::uint64_t length = order == CUBLASLT_ORDER_COL ? rows : columns;
    return static_cast<std::size_t>((lines - 1) * static_cast<std::uint64_t>(ld) + length) * fake_cuda::bytes_of(type);
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

inline Algorithm algorithm_of(const cublasLtMatmulAlgo_t* algo) {
  Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), algo, sizeof algorithm);
  return algorithm;
}

struct State {
  std::mutex mutex;
  std::set<const void*> live;
  bool epilogues = true;
};
inline State& global() {
  static State state;
  return state;
}

template <class Object>
Object* born(Object* object) {
  const std::lock_guard lock(global().mutex);
  global().live.insert(object);
  return object;
}
inline void require_live(const void* object, const char* what) {
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

inline bool relu(std::uint32_t epilogue) {
  return (epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
}
inline bool biased(std::uint32_t epilogue) {
  return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}
inline std::uint64_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return address & (~address + 1);
}

inline std::uint32_t hash(const Description& d, const Layout& a, const Layout& b, const Layout& out) {
  std::uint64_t h = 1469598103934665603u;
  for (const std::uint64_t word :
       {std::uint64_t{d.epilogue}, static_cast<std::uint64_t>(d.op_a), static_cast<std::uint64_t>(d.op_b),
        static_cast<std::uint64_t>(d.compute), static_cast<std::uint64_t>(a.type), static_cast<std::uint64_t>(out.type),
        a.rows, a.columns, b.rows, b.columns, out.rows, out.columns}) {
    h = (h ^ word) * 1099511628211u;
  }
  return static_cast<std::uint32_t>(h ^ (h >> 32));
}

struct Sizes {
  std::uint64_t rows, columns, depth;
};

inline Sizes sizes(const Description& d, const Layout& a, const Layout& b, const Layout& c, const Layout& out) {
  const bool ta = d.op_a == CUBLAS_OP_T, tb = d.op_b == CUBLAS_OP_T;
  const Sizes s{ta ? a.columns : a.rows, tb ? b.rows : b.columns, ta ? a.rows : a.columns};
  if ((tb ? b.columns : b.rows) != s.depth) misuse("a product of matrices whose inner extents differ");
  if (out.rows != s.rows || out.columns != s.columns) misuse("a product whose result has other extents");
  if (!(c == out)) misuse("the double wants C to lie as D does");
  for (const Layout* layout : {&a, &b, &c, &out}) {
    const std::uint64_t least = layout->order == CUBLASLT_ORDER_COL ? layout->rows : layout->columns;
    if (layout->ld < static_cast<std::int64_t>(least)) misuse("a matrix whose lines overlap");
  }
  // The table of types in cublasLtMatmul's documentation, for sums in fp32; a bias has the type of D.
  if (a.type != b.type) misuse("a product of two types");
  if (out.type != a.type && out.type != Number::fp32)
    misuse("a product whose result is neither of its inputs' type nor fp32");
  if (d.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type != Number::fp32) misuse("TF32 is for inputs of fp32");
  if (biased(d.epilogue) && out.order != CUBLASLT_ORDER_COL) misuse("a bias has one element a row of a column-major D");
  return s;
}

}  // namespace fake_cublaslt
