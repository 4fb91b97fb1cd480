// The `model:` block. A layer is a bare name, a name with its one main setting, or a name with a map of settings. Names
// are PyTorch's; those of Keras and Caffe are aliases.

#include <fmt/ranges.h>

#include <algorithm>

#include "spec/blocks.h"
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

/// How one kind of layer is written and read.
struct Kind {
  std::string_view name;
  Names aliases;
  std::string_view main;  ///< what `name: VALUE` sets; empty: there is no such short form
  Op (*read)(MapReader&);
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table{
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
      {"softmax", {}, "", [](MapReader&) { return Op(SoftmaxSpec{}); }},
      {"pooling", {}, "", read_caffe_pooling},
  };
  return table;
}

const Names kLaterLayers{"batch_norm",
                         "batch_norm1d",
                         "batch_norm2d",
                         "batch_normalization",
                         "layer_norm",
                         "layer_normalization",
                         "group_norm",
                         "instance_norm2d",
                         "rms_norm",
                         "conv1d",
                         "conv3d",
                         "conv_transpose2d",
                         "conv2d_transpose",
                         "max_pool1d",
                         "avg_pool1d",
                         "adaptive_avg_pool2d",
                         "global_average_pooling2d",
                         "adaptive_max_pool2d",
                         "dropout2d",
                         "embedding",
                         "rnn",
                         "lstm",
                         "gru",
                         "multihead_attention",
                         "attention",
                         "transformer",
                         "residual",
                         "sequential",
                         "elu",
                         "selu",
                         "silu",
                         "swish",
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

/// Complains where there is no such layer.
const Kind* find_kind(const Value& at, const std::string& name) {
  Names valid;
  for (const Kind& kind : kinds()) {
    if (kind.name == name || std::find(kind.aliases.begin(), kind.aliases.end(), name) != kind.aliases.end())
      return &kind;
    if (kind.name != "pooling") valid.push_back(kind.name);
  }
  refuse_name(at, "layer", name, valid, kLaterLayers);
  return nullptr;
}

/// The settings as a map: `linear: 128` is short for `linear: {out_features: 128}`.
Node as_settings(const Kind& kind, const Value& settings) {
  const Node& node = settings.node;
  const bool is_short = node.kind == Node::Kind::scalar || node.kind == Node::Kind::sequence;
  if (!is_short || kind.main.empty()) return node;
  Node map;
  map.kind = Node::Kind::map;
  map.at = node.at;
  map.keys = {Key{std::string(kind.main), node.at}};
  map.items = {node};
  return map;
}

std::optional<Op> read_settings(const Value& name, const std::string& written, const Value& settings) {
  const Kind* kind = find_kind(name, written);
  if (kind == nullptr) return std::nullopt;
  if (kind->main.empty() && (settings.node.kind == Node::Kind::scalar || settings.node.kind == Node::Kind::sequence)) {
    settings.expected("a map of settings", fmt::format("write '{}: {{setting: value}}'", written));
    return std::nullopt;
  }
  const Node map = as_settings(*kind, settings);
  MapReader reader(Value{map, settings.path, settings.block_at, settings.diagnostics},
                   {.title = "layer " + written, .may_be_empty = true});
  Op op = kind->read(reader);
  reader.finish();
  return op;
}

/// The errors of one layer are found even where another is not readable; its place is then missing from the model.
std::optional<Op> read_layer(const Value& layer) {
  const Node& node = layer.node;
  Node nothing;
  nothing.at = node.at;
  if (node.kind == Node::Kind::scalar) {
    return read_settings(layer, node.text, Value{nothing, layer.path + "." + node.text, node.at, layer.diagnostics});
  }
  if (node.kind == Node::Kind::map && node.keys.size() == 1) {
    Node name;
    name.kind = Node::Kind::scalar;
    name.at = node.keys[0].at;
    name.text = node.keys[0].text;
    const Value settings{node.items[0], layer.path + "." + name.text, name.at, layer.diagnostics};
    return read_settings(Value{name, layer.path, name.at, layer.diagnostics}, name.text, settings);
  }
  if (node.kind == Node::Kind::map && node.keys.size() > 1) {
    layer.diagnostics.error(
        node.keys[1].at, fmt::format("{}: a layer has one name, this has {} keys", layer.path, node.keys.size()),
        fmt::format("indent the settings of '{0}' below it, or write '{0}: {{setting: value}}'", node.keys[0].text));
    return std::nullopt;
  }
  layer.expected("a layer",
                 "write a name such as 'relu', or 'linear: 128', or 'conv2d: {out_channels: 32, kernel_size: 3}'");
  return std::nullopt;
}

/// Where a layer is said to be in complaints about its shapes: what the command line changed in it, or else its line.
Mark place_of(const Node& node) {
  if (node.at.source->is_argument) return node.at;
  for (const Node& item : node.items) {
    const Mark at = place_of(item);
    if (at.source->is_argument) return at;
  }
  return node.at;
}

/// The layers that are readable.
std::vector<LayerSpec> read_layers(const Value& value) {
  std::vector<LayerSpec> layers;
  if (value.node.kind != Node::Kind::sequence || value.node.items.empty()) {
    value.expected("a list of layers", "write one '- layer' a line");
    return layers;
  }
  for (std::size_t i = 0; i < value.node.items.size(); ++i) {
    const Node& node = value.node.items[i];
    const Value layer{node, fmt::format("{}.{}", value.path, i), node.at, value.diagnostics};
    if (std::optional<Op> op = read_layer(layer)) layers.push_back({*op, place_of(node).outlive()});
  }
  return layers;
}

}  // namespace

ModelSpec read_model(const Value& block) {
  ModelSpec model;
  MapReader map(block);
  map.required("input", model.input, sample_shape);
  if (const std::optional<Value> layers = map.take("layers")) {
    model.layers = read_layers(*layers);
  } else {
    map.missing("layers");
  }
  map.optional("loss", model.loss, choice(names::loss));
  map.finish();
  model.input_at = map.at("input").outlive();
  model.loss_at = map.at("loss").outlive();
  return model;
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
  };
  return std::visit(Name{}, layer.op);
}

}  // namespace dptrain
