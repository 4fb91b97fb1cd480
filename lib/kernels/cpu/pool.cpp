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
/// which is its output's too, so that the layers behind it continue in it. Where windows overlap, gradients are added up in fp32:
/// oneDNN would add them in the tensor's own 16 bits, one rounding a window. The most usual case has loops of its own: see
/// window_maxima.h.
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
    if (windowed_)
      workspace_ = Buffer::host(static_cast<std::size_t>(windows(full_batch).places()));
    else
      workspace_ = Buffer::host(spec.kind == PoolKind::max ? forward_desc(full_batch).workspace_desc().get_size() : 0);
  }

  const TensorDesc& output() const override { return output_; }

  void prepare(std::int64_t batch) override {
    if (windowed_) {
      const auto bytes = static_cast<std::size_t>(windows(batch).places());
      if (bytes > workspace_.size()) workspace_ = Buffer::host(bytes);
      prepared_.emplace_back().batch = batch;
      return;
    }
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
    if (windowed_)
      return window_maxima(windows(p.batch), static_cast<const BFloat16*>(x), static_cast<BFloat16*>(y), places());
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
    if (windowed_)
      return window_maxima_gradient(windows(p.batch), places(), static_cast<const BFloat16*>(dy),
                                    static_cast<BFloat16*>(dx));
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
    if (windowed_) names.emplace_back("window_maxima");
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
    std::int64_t batch = 0;       // where they are windows_
  };

  bool fits_windows() const {
    constexpr std::int64_t kMostPlaces = 256, kFewestChannels = 32;
    return spec_.kind == PoolKind::max && input_.type == ElementType::bfloat16 &&
           input_.layout.order == Layout::Order::channels_last && strides_ == kernel_ && padding_ == Dims{0, 0} &&
           spec_.kernel_height * spec_.kernel_width <= kMostPlaces && input_.shape[0] >= kFewestChannels;
  }
  Windows windows(std::int64_t batch) const {
    return {.images = batch,
            .height = input_.shape[1],
            .width = input_.shape[2],
            .channels = input_.shape[0],
            .window_height = spec_.kernel_height,
            .window_width = spec_.kernel_width};
  }
  std::uint8_t* places() const { return static_cast<std::uint8_t*>(workspace_.data()); }

  void choose_layout(const Shape& out, std::int64_t full_batch) {
    const auto set_layout = [&](const Layout& layout) {
      inner_ = TensorDesc(input_.shape, layout, input_.type);
      output_ = TensorDesc(out, layout, input_.type);
    };
    windowed_ = fits_windows();
    if (windowed_) return set_layout(input_.layout);
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
  bool windowed_ = false;
  ElementType sums_;  // what gradients are added up in
  Buffer workspace_, copy_, dy_copy_;
  std::vector<Prepared> prepared_;
};

}  // namespace

std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec,
                                          std::int64_t full_batch) {
  return std::make_unique<Pool>(context, input, spec, full_batch);
}

}  // namespace dptrain::cpu
