#include "kernels/cpu/primitive.h"

#include "core/error.h"

namespace dptrain::cpu {

using dnnl::memory;

void Context::require_scratchpad(std::size_t bytes) {
  if (bytes > scratchpad_.size()) scratchpad_ = Buffer::host(bytes);
}

void Context::require_workspace(std::size_t bytes) {
  if (bytes > workspace_.size()) workspace_ = Buffer::host(bytes);
}

dnnl::primitive_attr default_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

Primitive::Primitive(Context& context, dnnl::primitive primitive, const memory::desc& scratchpad,
                     std::string implementation, std::initializer_list<Argument> arguments)
    : context_(&context), primitive_(std::move(primitive)), implementation_(std::move(implementation)) {
  std::vector<int> names;
  for (const Argument& argument : arguments) {
    memories_.push_back(argument.desc.is_zero() ? memory() : memory(argument.desc, context.engine(), nullptr));
    names.push_back(argument.name);
  }
  context.require_scratchpad(scratchpad.get_size());
  memories_.emplace_back(scratchpad, context.engine(), nullptr);
  names.push_back(DNNL_ARG_SCRATCHPAD);
  bound_.assign(memories_.size(), nullptr);
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (memories_[i].get(true) != nullptr) call_.push_back({names[i], memories_[i].get()});
  }
}

void Primitive::run(std::initializer_list<const void*> pointers) {
  DPTRAIN_CHECK(pointers.size() + 1 == memories_.size(), "{} pointers for {} arguments", pointers.size(),
                memories_.size() - 1);
  const auto bind = [this](std::size_t i, void* pointer) {
    if (bound_[i] == pointer) return;               // setting a handle costs more than the comparison
    if (memories_[i].get(true) == nullptr) return;  // absent
    memories_[i].set_data_handle(pointer);
    bound_[i] = pointer;
  };
  std::size_t i = 0;
  for (const void* pointer : pointers) bind(i++, const_cast<void*>(pointer));
  bind(i, context_->scratchpad());
  dnnl::error::wrap_c_api(
      dnnl_primitive_execute(primitive_.get(), context_->stream().get(), static_cast<int>(call_.size()), call_.data()),
      "a oneDNN primitive failed");
}

Rank rank_of(std::string_view implementation) {
  const auto has = [&](std::string_view part) { return implementation.find(part) != std::string_view::npos; };
  if (has("ref")) return Rank::reference;
  if (has("simple")) return Rank::simple;
  if (has("gemm")) return Rank::gemm;
  if (has("amx")) return Rank::tiles;
  return has("avx512") ? Rank::widest : Rank::generated;
}

Rank best_rank(ElementType type) {
  const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  constexpr auto kTiles = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_amx);
  return type == ElementType::bfloat16 && (isa & kTiles) == kTiles ? Rank::tiles : Rank::widest;
}

Primitive reorder_primitive(Context& context, const memory::desc& from, const memory::desc& to) {
  const dnnl::engine& engine = context.engine();
  return {context,
          dnnl::reorder::primitive_desc(engine, from, engine, to, default_attributes()),
          {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}};
}

namespace {

memory::format_tag tag_of(const Layout& layout) {
  switch (layout.order) {
    case Layout::Order::plain:
      return memory::format_tag::nchw;
    case Layout::Order::channels_last:
      return memory::format_tag::nhwc;
    case Layout::Order::blocked:
      break;
  }
  return layout.block == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c;
}

}  // namespace

memory::data_type data_type(ElementType type) {
  return type == ElementType::float32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::desc memory_desc(const TensorDesc& tensor, std::int64_t batch) {
  const memory::data_type type = data_type(tensor.type);
  if (tensor.shape.rank() == 1) return {Dims{batch, tensor.size()}, type, memory::format_tag::ab};
  return {Dims{batch, tensor.shape[0], tensor.shape[1], tensor.shape[2]}, type, tag_of(tensor.layout)};
}

std::optional<Layout> layout_of(const memory::desc& desc) {
  const Layout known[] = {{Layout::Order::plain, 1},
                          {Layout::Order::channels_last, 1},
                          {Layout::Order::blocked, 16},
                          {Layout::Order::blocked, 8}};
  for (const Layout& layout : known) {
    if (desc == memory::desc(desc.dims(), desc.data_type(), tag_of(layout))) return layout;
  }
  return std::nullopt;
}

Eltwise eltwise(const ActivationSpec& spec) {
  using dnnl::algorithm;
  switch (spec.kind) {
    case ActivationKind::relu:
      return {algorithm::eltwise_relu, algorithm::eltwise_relu_use_dst_for_bwd, 0};
    case ActivationKind::leaky_relu:
      return {algorithm::eltwise_relu,
              spec.negative_slope < 0 ? algorithm::eltwise_relu : algorithm::eltwise_relu_use_dst_for_bwd,
              static_cast<float>(spec.negative_slope)};
    case ActivationKind::gelu:
      return {algorithm::eltwise_gelu_erf, algorithm::eltwise_gelu_erf, 0};
    case ActivationKind::sigmoid:
      return {algorithm::eltwise_logistic, algorithm::eltwise_logistic_use_dst_for_bwd, 0};
    case ActivationKind::tanh:
      return {algorithm::eltwise_tanh, algorithm::eltwise_tanh_use_dst_for_bwd, 0};
    case ActivationKind::silu:
      return {algorithm::eltwise_swish, algorithm::eltwise_swish, 1};
  }
  broken_invariant(__FILE__, __LINE__, "unknown activation");
}

}  // namespace dptrain::cpu
