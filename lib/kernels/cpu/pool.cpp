#include <algorithm>

#include "core/error.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/window_maxima.h"

namespace dptrain::cpu {

using dnnl::memory;
using dnnl::pooling_backward;
using dnnl::pooling_forward;

namespace {

/// Works in its input's layout, except where only plain loops take that: then on a copy of the input in another layout,
/// which is its output's too, so that the layers behind it continue in it. Where windows overlap, gradients are added
/// up in fp32: oneDNN would add them in the tensor's own 16 bits, one rounding a window.
class Pool final : public UnaryOperation {
 public:
  Pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec, std::int64_t full_batch)
      : context_(context),
        input_(input),
        spec_(spec),
        kernel_{spec.kernel_height, spec.kernel_width},
        strides_{spec.stride_height, spec.stride_width},
        padding_{spec.padding_height, spec.padding_width},
        sums_(spec.stride_height < spec.kernel_height || spec.stride_width < spec.kernel_width ? ElementType::float32
                                                                                               : input.type) {
    const std::int64_t height =
        (input.shape[1] + 2 * spec.padding_height - spec.kernel_height) / spec.stride_height + 1;
    const std::int64_t width = (input.shape[2] + 2 * spec.padding_width - spec.kernel_width) / spec.stride_width + 1;
    choose_layout(Shape{input.shape[0], height, width}, full_batch);
    workspace_ = Buffer::host(spec.kind == PoolKind::max ? forward_desc(full_batch).workspace_desc().get_size() : 0);
  }

  const TensorDesc& output() const override { return output_; }

  void prepare(std::int64_t batch) override {
    const auto forward = forward_desc(batch);
    const auto backward = backward_desc(batch);
    const memory::desc x = memory_desc(inner_, batch), y = memory_desc(output_, batch);
    const memory::desc dx = memory_desc(inner_.as(sums_), batch), dy = memory_desc(output_.as(sums_), batch);
    Prepared p;
    if (spec_.kind == PoolKind::max) {
      const memory::desc workspace = forward.workspace_desc();
      DPTRAIN_CHECK(workspace == backward.workspace_desc(), "forward and backward keep other places of maxima");
      if (workspace.get_size() > workspace_.size()) workspace_ = Buffer::host(workspace.get_size());
      p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, workspace}});
      p.backward = Primitive(context_, backward,
                             {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dx}, {DNNL_ARG_WORKSPACE, workspace}});
    } else {
      p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}});
      p.backward = Primitive(context_, backward, {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dx}});
    }
    const memory::desc outer = memory_desc(input_, batch);
    const auto grow = [](Buffer& copy, const memory::desc& desc) {
      if (copy.size() < desc.get_size()) copy = Buffer::host(desc.get_size());
    };
    if (x != outer) {
      p.copy_in = reorder_primitive(context_, outer, x);
      grow(copy_, x);
    }
    if (dx != outer) {
      p.copy_out = reorder_primitive(context_, dx, outer);
      grow(copy_, dx);
    }
    if (dy != y) {
      p.copy_dy = reorder_primitive(context_, y, dy);
      grow(dy_copy_, dy);
    }
    prepared_.push_back(std::move(p));
  }

  void forward(Slot slot, const void* x, void* y) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (p.copy_in) {
      p.copy_in.run({x, copy_.data()});
      x = copy_.data();
    }
    if (spec_.kind == PoolKind::max)
      p.forward.run({x, y, workspace_.data()});
    else
      p.forward.run({x, y});
  }
  void backward(Slot slot, const void*, const void*, const void* dy, void* dx) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    void* inner_dx = p.copy_out ? copy_.data() : dx;
    if (p.copy_dy) {
      p.copy_dy.run({dy, dy_copy_.data()});
      dy = dy_copy_.data();
    }
    if (spec_.kind == PoolKind::max)
      p.backward.run({dy, inner_dx, workspace_.data()});
    else
      p.backward.run({dy, inner_dx});
    if (p.copy_out) p.copy_out.run({inner_dx, dx});
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      for (const Primitive* primitive : {&p.copy_in, &p.forward, &p.copy_dy, &p.backward, &p.copy_out}) {
        if (*primitive) names.push_back(primitive->implementation());
      }
    }
    return names;
  }

 private:
  struct Prepared {
    Primitive forward, backward;
    Primitive copy_in, copy_out;  // of the input and its gradient, between their own layout and inner_
    Primitive copy_dy;            // to the type of sums_
  };

  void choose_layout(const Shape& out, std::int64_t full_batch) {
    const auto set_layout = [&](const Layout& layout) {
      inner_ = TensorDesc(input_.shape, layout, input_.type);
      output_ = TensorDesc(out, layout, input_.type);
    };
    for (const Layout& layout : {input_.layout, Layout{Layout::Order::blocked, 16}, Layout{Layout::Order::blocked, 8},
                                 Layout{Layout::Order::channels_last, 1}}) {
      set_layout(layout);
      if (std::max(worst_rank(full_batch), worst_rank(1)) <= Rank::generated) return;
    }
    set_layout(input_.layout);
  }
  Rank worst_rank(std::int64_t batch) const {
    return std::max(rank_of(forward_desc(batch)), rank_of(backward_desc(batch)));
  }

  dnnl::algorithm algorithm() const {
    return spec_.kind == PoolKind::max ? dnnl::algorithm::pooling_max : dnnl::algorithm::pooling_avg_include_padding;
  }
  pooling_forward::primitive_desc forward_desc(std::int64_t batch) const { return forward_desc(batch, inner_.type); }
  pooling_forward::primitive_desc forward_desc(std::int64_t batch, ElementType type) const {
    return {pooling_forward::desc(dnnl::prop_kind::forward_training, algorithm(), memory_desc(inner_.as(type), batch),
                                  memory_desc(output_.as(type), batch), strides_, kernel_, padding_, padding_),
            default_attributes(), context_.engine()};
  }
  pooling_backward::primitive_desc backward_desc(std::int64_t batch) const {
    return {pooling_backward::desc(algorithm(), memory_desc(inner_.as(sums_), batch),
                                   memory_desc(output_.as(sums_), batch), strides_, kernel_, padding_, padding_),
            default_attributes(), context_.engine(), forward_desc(batch, sums_)};
  }

  Context& context_;
  TensorDesc input_, inner_, output_;  // inner_: the input as the primitives take it
  Pool2dSpec spec_;
  Dims kernel_, strides_, padding_;
  ElementType sums_;  // what gradients are added up in
  Buffer workspace_, copy_, dy_copy_;
  std::vector<Prepared> prepared_;
};

/// The most usual maxima in 16 bits: see window_maxima.h.
class WindowMaxima final : public UnaryOperation {
 public:
  static bool takes(const TensorDesc& input, const Pool2dSpec& spec) {
    constexpr std::int64_t kMostPlaces = 256, kFewestChannels = 32;
    return spec.kind == PoolKind::max && input.type == ElementType::bfloat16 &&
           input.layout.order == Layout::Order::channels_last && spec.stride_height == spec.kernel_height &&
           spec.stride_width == spec.kernel_width && spec.padding_height == 0 && spec.padding_width == 0 &&
           spec.kernel_height * spec.kernel_width <= kMostPlaces && input.shape[0] >= kFewestChannels;
  }

  WindowMaxima(const TensorDesc& input, const Pool2dSpec& spec)
      : windows_{.images = 0,
                 .height = input.shape[1],
                 .width = input.shape[2],
                 .channels = input.shape[0],
                 .window_height = spec.kernel_height,
                 .window_width = spec.kernel_width},
        output_(Shape{input.shape[0], windows_.out_height(), windows_.out_width()}, input.layout, input.type) {}

  const TensorDesc& output() const override { return output_; }
  void prepare(std::int64_t batch) override {
    batches_.push_back(batch);
    const auto places = static_cast<std::size_t>(windows(batch).places());
    if (places > places_.size()) places_ = Buffer::host(places);
  }
  void forward(Slot slot, const void* x, void* y) override {
    window_maxima(windows(batches_[static_cast<std::size_t>(slot)]), static_cast<const BFloat16*>(x),
                  static_cast<BFloat16*>(y), static_cast<std::uint8_t*>(places_.data()));
  }
  void backward(Slot slot, const void*, const void*, const void* dy, void* dx) override {
    window_maxima_gradient(windows(batches_[static_cast<std::size_t>(slot)]),
                           static_cast<const std::uint8_t*>(places_.data()), static_cast<const BFloat16*>(dy),
                           static_cast<BFloat16*>(dx));
  }
  std::vector<std::string> implementations() const override { return {"window_maxima"}; }

 private:
  Windows windows(std::int64_t batch) const {
    Windows of = windows_;
    of.images = batch;
    return of;
  }

  const Windows windows_;
  const TensorDesc output_;
  std::vector<std::int64_t> batches_;  // by slot
  Buffer places_;                      // of maxima, of the latest forward()
};

}  // namespace

std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec,
                                          std::int64_t full_batch) {
  if (WindowMaxima::takes(input, spec)) return std::make_unique<WindowMaxima>(input, spec);
  return std::make_unique<Pool>(context, input, spec, full_batch);
}

}  // namespace dptrain::cpu
