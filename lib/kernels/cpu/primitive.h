// Purpose: a oneDNN primitive with its arguments prepared once, run on raw pointers; and the translation of TensorDesc.
// Thread safety: one thread, the creator's (Debian's oneDNN runs a primitive safely only there).
// Invariants: execute() allocates nothing of ours; scratchpads are shared through one arena.
#pragma once

#include <initializer_list>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "device/buffer.h"
#include "kernels/tensor_desc.h"
#include "spec/job_spec.h"

namespace dptrain::cpu {

/// Engine, stream, and memory for the time of one call that all operations of one thread share: the scratchpad is for
/// oneDNN, the workspace for ours.
class Context {
 public:
  Context() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const dnnl::engine& engine() const { return engine_; }
  dnnl::stream& stream() { return stream_; }
  void require_scratchpad(std::size_t bytes);
  void* scratchpad() const { return scratchpad_.data(); }
  void require_workspace(std::size_t bytes);
  void* workspace() const { return workspace_.data(); }
  std::size_t workspace_bytes() const { return workspace_.size(); }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  Buffer scratchpad_, workspace_;
};

/// Attributes every primitive is made with: scratchpads are ours.
dnnl::primitive_attr default_attributes();

class Primitive {
 public:
  struct Argument {
    int name;  ///< DNNL_ARG_...
    dnnl::memory::desc desc;
  };

  Primitive() = default;
  /// `arguments` fixes the order of the pointers of run(); one without a layout is absent (a layer without bias) and
  /// its pointer is ignored.
  template <class PrimitiveDesc>
  Primitive(Context& context, const PrimitiveDesc& desc, std::initializer_list<Argument> arguments)
      : Primitive(context, dnnl::primitive(desc.get()), desc.scratchpad_desc(), desc.impl_info_str(), arguments) {}

  explicit operator bool() const { return context_ != nullptr; }
  const std::string& implementation() const { return implementation_; }
  void run(std::initializer_list<const void*> pointers);

 private:
  Primitive(Context& context, dnnl::primitive primitive, const dnnl::memory::desc& scratchpad,
            std::string implementation, std::initializer_list<Argument> arguments);

  Context* context_ = nullptr;
  dnnl::primitive primitive_;
  std::string implementation_;
  std::vector<dnnl::memory> memories_;  // the arguments in order, then the scratchpad
  std::vector<void*> bound_;            // what each memory points to now
  std::vector<dnnl_exec_arg_t> call_;
};

/// How good an implementation is by its name, best first: tiles of AMX ("brgconv:avx512_core_bf16_amx_bf16"), widest
/// vectors, other kernels made for the shape ("jit:avx2", "jit:sve_512"), matrix products around copies
/// ("x64:gemm:jit"), plain loops ("simple_nchw:any"), reference code ("ref:any", "gemm:ref"). Layouts are chosen by
/// this rank, not by timing, so that one kind of CPU always chooses the same.
enum class Rank { tiles, widest, generated, gemm, simple, reference };
Rank rank_of(std::string_view implementation);
template <class PrimitiveDesc>
Rank rank_of(const PrimitiveDesc& desc) {
  return rank_of(std::string_view(desc.impl_info_str()));
}

/// Copies its first pointer's tensor into its second's, from one layout to another; padding becomes zero.
Primitive reorder_primitive(Context& context, const dnnl::memory::desc& from, const dnnl::memory::desc& to);

/// The best rank that anything can have on this CPU, for operations of this type.
Rank best_rank(ElementType type);

using Dims = dnnl::memory::dims;

dnnl::memory::data_type data_type(ElementType type);
/// (batch, C, H, W) or (batch, F).
dnnl::memory::desc memory_desc(const TensorDesc& tensor, std::int64_t batch);
/// The layout of a (N, C, H, W) memory that oneDNN chose; empty where it is none of ours.
std::optional<Layout> layout_of(const dnnl::memory::desc& desc);

/// The oneDNN algorithm of an activation, and its alpha.
struct Eltwise {
  dnnl::algorithm forward, backward;
  float alpha = 0;
};
Eltwise eltwise(const ActivationSpec& spec);

}  // namespace dptrain::cpu
