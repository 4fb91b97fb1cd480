#include "core/error.h"
#include "nn/layers/activation.h"
#include "nn/layers/affine.h"
#include "nn/layers/dropout.h"
#include "nn/layers/flatten.h"
#include "nn/layers/norm.h"
#include "nn/layers/sync_norm.h"
#include "nn/layers/unary.h"

namespace dptrain {

namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

std::unique_ptr<Layer> make_layer(const LayerSpec& spec, const LayerContext& context) {
  return std::visit(
      Overloaded{
          [&](const LinearSpec& s) { return make_linear_layer(s, context); },
          [&](const Conv2dSpec& s) { return make_conv2d_layer(s, context); },
          [&](const Pool2dSpec& s) -> std::unique_ptr<Layer> {
            return std::make_unique<Unary>(context.kernels.pool(context.input, s, context.full_batch), false);
          },
          [&](const FlattenSpec&) -> std::unique_ptr<Layer> { return std::make_unique<Flatten>(context); },
          [&](const DropoutSpec& s) -> std::unique_ptr<Layer> { return std::make_unique<Dropout>(s, context); },
          [&](const ActivationSpec& s) -> std::unique_ptr<Layer> { return std::make_unique<Activation>(s, context); },
          [&](const NormSpec& s) -> std::unique_ptr<Layer> {
            if (s.sync) return std::make_unique<SyncNorm>(s, context);
            return std::make_unique<Norm>(s, context);
          },
          [&](const GlobalPoolSpec&) -> std::unique_ptr<Layer> {
            const Shape& in = context.input.shape;
            auto pool = context.kernels.pool(context.input,
                                             {.kind = PoolKind::average,
                                              .kernel_height = in[1],
                                              .kernel_width = in[2],
                                              .stride_height = in[1],
                                              .stride_width = in[2]},
                                             context.full_batch);
            const TensorDesc output = pool->output().flattened();
            return std::make_unique<Unary>(std::move(pool), output);
          },
          [&](const ResidualSpec&) -> std::unique_ptr<Layer> {
            broken_invariant(__FILE__, __LINE__, "a residual block is no single layer");
          },
          [&](const SoftmaxSpec&) -> std::unique_ptr<Layer> {
            return std::make_unique<Unary>(context.kernels.softmax(context.input), true);
          },
      },
      spec.op);
}

bool can_fuse(const LayerSpec& layer, const LayerSpec& next) {
  const bool affine = std::holds_alternative<LinearSpec>(layer.op) || std::holds_alternative<Conv2dSpec>(layer.op);
  const auto* activation = std::get_if<ActivationSpec>(&next.op);
  const bool sums = std::holds_alternative<NormSpec>(layer.op) || std::holds_alternative<ResidualSpec>(layer.op);
  if (sums) return activation != nullptr && activation->kind == ActivationKind::relu;
  // sigmoid(0) is not 0, so it has no place where channels may be padded.
  return affine && activation != nullptr && !backward_needs_input(*activation) &&
         activation->kind != ActivationKind::sigmoid;
}

bool takes_layout(const LayerSpec& layer, const TensorDesc& input) {
  if (std::holds_alternative<SoftmaxSpec>(layer.op)) return input.plain() && input.type == ElementType::float32;
  if (input.plain()) return true;
  if (const auto* norm = std::get_if<NormSpec>(&layer.op))
    return norm->kind != NormKind::layer && input.shape.rank() == 3;
  if (const auto* activation = std::get_if<ActivationSpec>(&layer.op)) {
    // sigmoid(0) is not 0: it would fill the padding.
    return !input.padded() || activation->kind != ActivationKind::sigmoid;
  }
  return true;
}

}  // namespace dptrain
