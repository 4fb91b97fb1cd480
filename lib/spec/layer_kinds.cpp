// The layers by name, and what each reads of its settings. Names are PyTorch's; those of Keras and Caffe are aliases.
#include "spec/layer_kinds.h"

#include <algorithm>

#include "spec/names.h"

namespace dptrain {
namespace {

using Op = decltype(LayerSpec::op);

/// Extents of (height, width) from one setting.
using Extents = std::pair<std::int64_t, std::int64_t>;

Op read_linear(MapReader& map) {
  LinearSpec linear;
  map.required("out_features", linear.out_features, integer(1, kMaxExtent), {"units", "num_output"});
  map.optional("bias", linear.bias, boolean, {"use_bias", "bias_term"});
  map.optional("init", linear.init, choice(names::initialiser));
  if (linear.init == Initialiser::whiten)
    map.error("init", "'whiten' makes filters of patches of images", "it is for a conv2d that is the first layer");
  return linear;
}

/// `padding: same` keeps the extents and `padding: valid` pads nothing, as in PyTorch and Keras.
Reader<Extents> padding(Extents kernel, Extents stride) {
  return [=](const Value& value) -> std::optional<Extents> {
    if (value.is_keyword("valid")) return Extents{0, 0};
    if (!value.is_keyword("same")) return extents(0, kMaxKernel)(value);
    if (stride != Extents{1, 1} || kernel.first % 2 == 0 || kernel.second % 2 == 0) {
      value.error("'same' needs a stride of 1 and odd kernels", "write the padding as a number");
      return std::nullopt;
    }
    return Extents{kernel.first / 2, kernel.second / 2};
  };
}

Op read_conv2d(MapReader& map) {
  Conv2dSpec conv;
  Extents kernel{1, 1}, stride{1, 1}, pad{0, 0};
  const bool channels =
      map.required("out_channels", conv.out_channels, integer(1, kMaxExtent), {"filters", "num_output"});
  const bool kernel_read = map.required("kernel_size", kernel, extents(1, kMaxKernel));
  map.optional("stride", stride, extents(1, kMaxKernel), {"strides"});
  const bool pad_read = map.optional("padding", pad, padding(kernel, stride), {"pad"});
  const bool groups = map.optional("groups", conv.groups, integer(1, kMaxExtent), {"group"});
  map.optional("bias", conv.bias, boolean, {"use_bias", "bias_term"});
  map.optional("init", conv.init, choice(names::initialiser));
  map.later("dilation", "convolutions here have a dilation of 1");
  map.later("padding_mode", "convolutions here pad with zeros");
  if (kernel_read && pad_read && (pad.first >= kernel.first || pad.second >= kernel.second)) {
    map.error("padding",
              fmt::format("a padding of [{}, {}] for a kernel of [{}, {}]", pad.first, pad.second, kernel.first,
                          kernel.second),
              "the padding must be smaller than the kernel");
  }
  if (channels && groups && conv.out_channels % conv.groups != 0) {
    map.error("groups", fmt::format("{} groups do not divide {} output channels", conv.groups, conv.out_channels),
              "both out_channels and the input's channels must be multiples of groups");
  }
  std::tie(conv.kernel_height, conv.kernel_width) = kernel;
  std::tie(conv.stride_height, conv.stride_width) = stride;
  std::tie(conv.padding_height, conv.padding_width) = pad;
  return conv;
}

Op read_pool2d(MapReader& map, PoolKind kind) {
  Pool2dSpec pool;
  pool.kind = kind;
  Extents kernel{1, 1}, pad{0, 0};
  const bool kernel_read = map.required("kernel_size", kernel, extents(1, kMaxKernel), {"pool_size"});
  Extents stride = kernel;
  map.optional("stride", stride, extents(1, kMaxKernel), {"strides"});
  const bool pad_read = map.optional("padding", pad, padding(kernel, stride), {"pad"});
  map.later("dilation", "pooling here has a dilation of 1");
  map.later("ceil_mode", "extents are rounded down here");
  map.later("count_include_pad", "average pooling here counts the padding");
  if (kernel_read && pad_read && (2 * pad.first > kernel.first || 2 * pad.second > kernel.second)) {
    map.error("padding",
              fmt::format("a padding of [{}, {}] for a kernel of [{}, {}]", pad.first, pad.second, kernel.first,
                          kernel.second),
              "the padding must be at most half the kernel");
  }
  std::tie(pool.kernel_height, pool.kernel_width) = kernel;
  std::tie(pool.stride_height, pool.stride_width) = stride;
  std::tie(pool.padding_height, pool.padding_width) = pad;
  return pool;
}

Op read_caffe_pooling(MapReader& map) {
  static const Choices<PoolKind> pools{
      "pooling",
      {{"max", PoolKind::max}, {"MAX", PoolKind::max}, {"ave", PoolKind::average}, {"AVE", PoolKind::average}},
      {}};
  PoolKind kind = PoolKind::max;
  map.optional("pool", kind, choice(pools));
  return read_pool2d(map, kind);
}

Op read_dropout(MapReader& map) {
  DropoutSpec dropout;
  map.optional("p", dropout.probability, number(kBelowOne), {"rate", "dropout_ratio"});
  return dropout;
}

Op read_leaky_relu(MapReader& map) {
  ActivationSpec leaky{ActivationKind::leaky_relu};
  map.optional("negative_slope", leaky.negative_slope, number({}), {"alpha"});
  return leaky;
}

template <ActivationKind kind>
Op read_activation(MapReader&) {
  return ActivationSpec{kind};
}

Op read_batch_norm(MapReader& map) {
  NormSpec norm{.kind = NormKind::batch};
  map.optional("eps", norm.epsilon, number(kAboveZero), {"epsilon"});
  map.optional("momentum", norm.momentum, number(kFraction));
  map.optional("affine", norm.affine, boolean);
  map.optional("sync", norm.sync, boolean);
  map.later("track_running_stats", "running statistics are always kept here");
  return norm;
}

Op read_group_norm(MapReader& map) {
  NormSpec norm{.kind = NormKind::group};
  map.required("groups", norm.groups, integer(1, kMaxExtent), {"num_groups"});
  map.optional("eps", norm.epsilon, number(kAboveZero), {"epsilon"});
  map.optional("affine", norm.affine, boolean);
  return norm;
}

Op read_layer_norm(MapReader& map) {
  NormSpec norm{.kind = NormKind::layer};
  map.optional("eps", norm.epsilon, number(kAboveZero), {"epsilon"});
  map.optional("affine", norm.affine, boolean, {"elementwise_affine"});
  map.later("normalized_shape", "layer_norm here normalises all elements of a sample");
  return norm;
}

/// `shortcut:` is a name, or the layers of a path of its own.
Op read_residual(MapReader& map) {
  ResidualSpec residual;
  if (const std::optional<Value> layers = map.take("layers", {"branch"}))
    residual.layers = read_layers(*layers);
  else
    map.missing("layers");
  if (const std::optional<Value> shortcut = map.take("shortcut", {"downsample"})) {
    if (shortcut->node.kind == Node::Kind::sequence) {
      residual.shortcut = Shortcut::layers;
      residual.shortcut_layers = read_layers(*shortcut);
    } else if (const std::optional<Shortcut> named = choice(names::shortcut)(*shortcut)) {
      residual.shortcut = *named;
    }
  }
  return residual;
}

const std::vector<LayerKind>& kinds() {
  static const std::vector<LayerKind> table{
      {"linear", {"dense", "inner_product"}, "out_features", read_linear},
      {"conv2d", {"convolution"}, "", read_conv2d},
      {"max_pool2d", {"max_pooling2d"}, "kernel_size", [](MapReader& map) { return read_pool2d(map, PoolKind::max); }},
      {"avg_pool2d",
       {"average_pooling2d"},
       "kernel_size",
       [](MapReader& map) { return read_pool2d(map, PoolKind::average); }},
      {"flatten", {}, "", [](MapReader&) { return Op(FlattenSpec{}); }},
      {"dropout", {}, "p", read_dropout},
      {"relu", {}, "", read_activation<ActivationKind::relu>},
      {"leaky_relu", {}, "negative_slope", read_leaky_relu},
      {"gelu", {}, "", read_activation<ActivationKind::gelu>},
      {"sigmoid", {}, "", read_activation<ActivationKind::sigmoid>},
      {"tanh", {}, "", read_activation<ActivationKind::tanh>},
      {"silu", {"swish"}, "", read_activation<ActivationKind::silu>},
      {"softmax", {}, "", [](MapReader&) { return Op(SoftmaxSpec{}); }},
      {"batch_norm", {"batch_norm1d", "batch_norm2d", "batch_normalization"}, "", read_batch_norm},
      {"group_norm", {"group_normalization"}, "groups", read_group_norm},
      {"layer_norm", {"layer_normalization"}, "", read_layer_norm},
      {"global_avg_pool",
       {"global_avg_pool2d", "global_average_pooling2d"},
       "",
       [](MapReader&) { return Op(GlobalPoolSpec{}); }},
      {"residual", {}, "layers", read_residual},
      {"pooling", {}, "", read_caffe_pooling},
  };
  return table;
}

const Names kLaterLayers{"instance_norm2d",
                         "rms_norm",
                         "conv1d",
                         "conv3d",
                         "conv_transpose2d",
                         "conv2d_transpose",
                         "max_pool1d",
                         "avg_pool1d",
                         "adaptive_avg_pool2d",
                         "adaptive_max_pool2d",
                         "dropout2d",
                         "embedding",
                         "rnn",
                         "lstm",
                         "gru",
                         "multihead_attention",
                         "attention",
                         "transformer",
                         "sequential",
                         "elu",
                         "selu",
                         "mish",
                         "softplus",
                         "hardswish",
                         "prelu",
                         "log_softmax",
                         "lrn",
                         "pad",
                         "zero_padding2d",
                         "reshape",
                         "upsample",
                         "identity"};

}  // namespace

const LayerKind* find_layer_kind(const Value& at, const std::string& name) {
  Names valid;
  for (const LayerKind& kind : kinds()) {
    if (kind.name == name || std::find(kind.aliases.begin(), kind.aliases.end(), name) != kind.aliases.end())
      return &kind;
    if (kind.name != "pooling") valid.push_back(kind.name);
  }
  valid.push_back("repeat");
  refuse_name(at, "layer", name, valid, kLaterLayers);
  return nullptr;
}

std::string layer_kind(const LayerSpec& layer) {
  struct Name {
    std::string operator()(const LinearSpec&) const { return "linear"; }
    std::string operator()(const Conv2dSpec&) const { return "conv2d"; }
    std::string operator()(const Pool2dSpec& pool) const {
      return pool.kind == PoolKind::max ? "max_pool2d" : "avg_pool2d";
    }
    std::string operator()(const FlattenSpec&) const { return "flatten"; }
    std::string operator()(const DropoutSpec&) const { return "dropout"; }
    std::string operator()(const ActivationSpec& op) const { return std::string(names::activation.name_of(op.kind)); }
    std::string operator()(const SoftmaxSpec&) const { return "softmax"; }
    std::string operator()(const NormSpec& norm) const { return std::string(names::norm.name_of(norm.kind)); }
    std::string operator()(const GlobalPoolSpec&) const { return "global_avg_pool"; }
    std::string operator()(const ResidualSpec&) const { return "residual"; }
  };
  return std::visit(Name{}, layer.op);
}

}  // namespace dptrain
