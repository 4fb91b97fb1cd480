#include "core/error.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

using dnnl::memory;
using dnnl::pooling_backward;
using dnnl::pooling_forward;

namespace {

class Pool final : public UnaryOperation {
 public:
  Pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec, std::int64_t full_batch)
      : context_(context),
        input_(input),
        spec_(spec),
        kernel_{spec.kernel_height, spec.kernel_width},
        strides_{spec.stride_height, spec.stride_width},
        padding_{spec.padding_height, spec.padding_width} {
    const std::int64_t height =
        (input.shape[1] + 2 * spec.padding_height - spec.kernel_height) / spec.stride_height + 1;
    const std::int64_t width = (input.shape[2] + 2 * spec.padding_width - spec.kernel_width) / spec.stride_width + 1;
    output_ = TensorDesc(Shape{input.shape[0], height, width}, input.layout);
    workspace_ = Buffer::host(spec.kind == PoolKind::max ? forward_desc(full_batch).workspace_desc().get_size() : 0);
  }

  const TensorDesc& output() const override { return output_; }

  void prepare(std::int64_t batch) override {
    const auto forward = forward_desc(batch);
    const memory::desc x = memory_desc(input_, batch), y = memory_desc(output_, batch);
    const pooling_backward::primitive_desc backward(
        pooling_backward::desc(algorithm(), x, y, strides_, kernel_, padding_, padding_), default_attributes(),
        context_.engine(), forward);
    Prepared p;
    if (spec_.kind == PoolKind::max) {
      const memory::desc workspace = forward.workspace_desc();
      if (workspace.get_size() > workspace_.size()) workspace_ = Buffer::host(workspace.get_size());
      p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, workspace}});
      p.backward = Primitive(context_, backward,
                             {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_SRC, x}, {DNNL_ARG_WORKSPACE, workspace}});
    } else {
      p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}});
      p.backward = Primitive(context_, backward, {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_SRC, x}});
    }
    prepared_.push_back(std::move(p));
  }

  void forward(Slot slot, const float* x, float* y) override {
    Primitive& primitive = prepared_[static_cast<std::size_t>(slot)].forward;
    if (spec_.kind == PoolKind::max)
      primitive.run({x, y, workspace_.data()});
    else
      primitive.run({x, y});
  }
  void backward(Slot slot, const float*, const float*, const float* dy, float* dx) override {
    Primitive& primitive = prepared_[static_cast<std::size_t>(slot)].backward;
    if (spec_.kind == PoolKind::max)
      primitive.run({dy, dx, workspace_.data()});
    else
      primitive.run({dy, dx});
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      names.push_back(p.forward.implementation());
      names.push_back(p.backward.implementation());
    }
    return names;
  }

 private:
  struct Prepared {
    Primitive forward, backward;
  };
  dnnl::algorithm algorithm() const {
    return spec_.kind == PoolKind::max ? dnnl::algorithm::pooling_max : dnnl::algorithm::pooling_avg_include_padding;
  }
  pooling_forward::primitive_desc forward_desc(std::int64_t batch) const {
    return {pooling_forward::desc(dnnl::prop_kind::forward_training, algorithm(), memory_desc(input_, batch),
                                  memory_desc(output_, batch), strides_, kernel_, padding_, padding_),
            default_attributes(), context_.engine()};
  }

  Context& context_;
  TensorDesc input_, output_;
  Pool2dSpec spec_;
  Dims kernel_, strides_, padding_;
  Buffer workspace_;
  std::vector<Prepared> prepared_;
};

}  // namespace

std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec,
                                          std::int64_t full_batch) {
  return std::make_unique<Pool>(context, input, spec, full_batch);
}

}  // namespace dptrain::cpu
