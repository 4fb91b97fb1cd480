// The `model:` block. A layer is a bare name, a name with its one main setting, or a name with a map of settings.

#include <fmt/ranges.h>

#include <span>

#include "spec/blocks.h"
#include "spec/layer_kinds.h"
#include "spec/named_items.h"
#include "spec/names.h"

namespace dptrain {
namespace {

constexpr std::int64_t kMaxLayers = 2000;  ///< of a list; what they are written out as must be readable again

/// How to write a layer that has no main setting.
std::string way_to_write(const LayerKind& kind, const std::string& written, const Value& settings) {
  const Node nothing;
  Diagnostics unheard;
  MapReader reader(Value{nothing, "", settings.block_at, unheard}, {.may_be_empty = true});
  kind.read(reader);
  if (reader.settings().empty()) return fmt::format("write '{}' alone: it takes no settings", written);
  const Names needed = reader.lacking().empty() ? Names{reader.settings().front()} : reader.lacking();
  return fmt::format("write '{}: {{{}: ...}}'; its settings are: {}", written, fmt::join(needed, ": ..., "),
                     fmt::join(reader.settings(), ", "));
}

std::optional<LayerSpec> read_settings(const Value& name, const Value& settings) {
  const std::string& written = name.node.text;
  const LayerKind* kind = find_layer_kind(name, written);
  if (kind == nullptr) return std::nullopt;
  if (kind->main.empty() && is_short_form(settings.node)) {
    settings.expected("a map of settings", way_to_write(*kind, written, settings));
    return std::nullopt;
  }
  const Node map = as_settings(settings.node, kind->main);
  MapReader reader(Value{map, settings.path, settings.block_at, settings.diagnostics},
                   {.title = "layer " + written, .may_be_empty = true});
  LayerSpec layer{kind->read(reader), {}};
  bool recompute = false;
  if (std::holds_alternative<ResidualSpec>(layer.op)) reader.optional("recompute", recompute, boolean);
  if (recompute) layer.recompute = {1};
  reader.finish();
  return layer;
}

/// The errors of one layer are found even where another is not readable; its place is then missing from the model.
std::optional<LayerSpec> read_layer(const Value& layer) {
  return read_named<LayerSpec>(
      layer, "a layer",
      "write a name such as 'relu', or 'linear: 128', or 'conv2d: {out_channels: 32, kernel_size: 3}'", read_settings);
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

/// Layers, those inside of containers too.
std::size_t count_layers(const std::vector<LayerSpec>& layers) {
  std::size_t count = layers.size();
  for (const LayerSpec& layer : layers) {
    if (const auto* residual = std::get_if<ResidualSpec>(&layer.op))
      count += count_layers(residual->layers) + count_layers(residual->shortcut_layers);
  }
  return count;
}

/// `repeat: {times: N, layers: [...]}`, written out: what comes of it is as if the layers had been written N times.
/// With `recompute: true` each time is a block of its own.
std::vector<LayerSpec> read_repeat(const Value& settings) {
  MapReader map(settings, {.title = "repeat"});
  std::int64_t times = 1;
  bool recompute = false;
  std::vector<LayerSpec> once, all;
  map.required("times", times, integer(1, kMaxLayers), {"n"});
  if (const std::optional<Value> layers = map.take("layers"))
    once = read_layers(*layers);
  else if (map.is_map())
    map.missing("layers");
  map.optional("recompute", recompute, boolean);
  map.finish();
  if (recompute && !once.empty()) {
    std::vector<std::size_t>& blocks = once.front().recompute;
    if (blocks.empty() || blocks.front() != once.size()) blocks.insert(blocks.begin(), once.size());
  }
  if (count_layers(once) * static_cast<std::size_t>(times) > kMaxLayers) {
    settings.error(fmt::format("more than {} layers", kMaxLayers), "repeat fewer times");
    return once;
  }
  for (std::int64_t k = 0; k < times; ++k) all.insert(all.end(), once.begin(), once.end());
  return all;
}

}  // namespace

std::vector<LayerSpec> read_layers(const Value& value) {
  std::vector<LayerSpec> layers;
  if (value.node.kind != Node::Kind::sequence || value.node.items.empty()) {
    value.expected("a list of layers", "write one '- layer' a line");
    return layers;
  }
  std::size_t count = 0;
  for (std::size_t i = 0; i < value.node.items.size(); ++i) {
    const Node& node = value.node.items[i];
    const Value layer{node, fmt::format("{}.{}", value.path, i), node.at, value.diagnostics};
    std::vector<LayerSpec> read;
    if (node.kind == Node::Kind::map && node.keys.size() == 1 && node.keys[0].text == "repeat")
      read = read_repeat({node.items[0], layer.path + ".repeat", node.keys[0].at, value.diagnostics});
    else if (std::optional<LayerSpec> one = read_layer(layer)) {
      one->at = place_of(node).outlive();
      read.push_back(std::move(*one));
    }
    count += count_layers(read);
    if (count > kMaxLayers) {
      value.error(fmt::format("more than {} layers", kMaxLayers), "repeat fewer times");
      return layers;
    }
    layers.insert(layers.end(), read.begin(), read.end());
  }
  return layers;
}

namespace {

/// `loss: NAME`, or its settings: `loss: {name: cross_entropy, label_smoothing: 0.1}`.
void read_loss(const Value& loss, ModelSpec& model) {
  if (loss.node.kind == Node::Kind::scalar) {
    model.loss = choice(names::loss)(loss).value_or(model.loss);
    return;
  }
  MapReader map(loss);
  map.required("name", model.loss, choice(names::loss));
  if (model.loss == LossKind::cross_entropy) map.optional("label_smoothing", model.label_smoothing, number(kBelowOne));
  map.finish();
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
  if (const std::optional<Value> loss = map.take("loss")) read_loss(*loss, model);
  map.finish();
  model.input_at = map.at("input").outlive();
  return model;
}

namespace {

struct LayerSettings {
  std::string operator()(const LinearSpec& linear) const {
    return fmt::format("out_features: {}, bias: {}, init: {}", linear.out_features, linear.bias,
                       names::initialiser.name_of(linear.init));
  }
  std::string operator()(const Conv2dSpec& conv) const {
    return fmt::format("out_channels: {}, {}, groups: {}, bias: {}, init: {}", conv.out_channels, window(conv),
                       conv.groups, conv.bias, names::initialiser.name_of(conv.init));
  }
  std::string operator()(const Pool2dSpec& pool) const { return window(pool); }
  std::string operator()(const DropoutSpec& dropout) const { return fmt::format("p: {}", dropout.probability); }
  std::string operator()(const ActivationSpec& activation) const {
    if (activation.kind != ActivationKind::leaky_relu) return "";
    return fmt::format("negative_slope: {}", activation.negative_slope);
  }
  std::string operator()(const FlattenSpec&) const { return ""; }
  std::string operator()(const SoftmaxSpec&) const { return ""; }
  std::string operator()(const NormSpec& norm) const {
    return fmt::format("{}eps: {}{}, affine: {}",
                       norm.kind == NormKind::group ? fmt::format("groups: {}, ", norm.groups) : std::string(),
                       norm.epsilon,
                       norm.kind == NormKind::batch ? fmt::format(", momentum: {}, sync: {}", norm.momentum, norm.sync)
                                                    : std::string(),
                       norm.affine);
  }
  std::string operator()(const GlobalPoolSpec&) const { return ""; }

  template <class Window>
  static std::string window(const Window& w) {
    return fmt::format("kernel_size: [{}, {}], stride: [{}, {}], padding: [{}, {}]", w.kernel_height, w.kernel_width,
                       w.stride_height, w.stride_width, w.padding_height, w.padding_width);
  }
};

/// One layer a line, those of containers indented further. `block`: how many of the recomputed blocks that begin with
/// the first layer are written already.
std::string layers_text(std::span<const LayerSpec> layers, const std::string& indent, std::size_t block = 0) {
  std::string out;
  for (; !layers.empty(); block = 0) {
    const LayerSpec& layer = layers.front();
    const auto* residual = std::get_if<ResidualSpec>(&layer.op);
    const std::size_t length = block < layer.recompute.size() ? layer.recompute[block] : 0;
    if (length > 1 || (length == 1 && residual == nullptr)) {
      out += fmt::format("{0}- repeat:\n{0}    times: 1\n{0}    recompute: true\n{0}    layers:\n{1}", indent,
                         layers_text(layers.first(length), indent + "      ", block + 1));
      layers = layers.subspan(length);
      continue;
    }
    layers = layers.subspan(1);
    out += fmt::format("{}- {}", indent, layer_kind(layer));
    if (residual != nullptr) {
      const std::string inside = fmt::format("{}      ", indent);
      out += fmt::format(":\n{2}{0}    layers:\n{1}{0}    shortcut:", indent, layers_text(residual->layers, inside),
                         length == 1 ? fmt::format("{}    recompute: true\n", indent) : std::string());
      out += residual->shortcut == Shortcut::layers
                 ? fmt::format("\n{}", layers_text(residual->shortcut_layers, inside))
                 : fmt::format(" {}\n", names::shortcut.name_of(residual->shortcut));
      continue;
    }
    const std::string settings = std::visit(
        [](const auto& op) {
          if constexpr (std::is_same_v<std::decay_t<decltype(op)>, ResidualSpec>)
            return std::string();
          else
            return LayerSettings{}(op);
        },
        layer.op);
    out += settings.empty() ? std::string("\n") : fmt::format(": {{{}}}\n", settings);
  }
  return out;
}

}  // namespace

std::string model_text(const ModelSpec& model) {
  return fmt::format("model:\n  input: [{}]\n  layers:\n{}  loss: {{name: {}{}}}\n",
                     fmt::join(model.input.extents(), ", "), layers_text(model.layers, "    "),
                     names::loss.name_of(model.loss),
                     model.loss == LossKind::cross_entropy ? fmt::format(", label_smoothing: {}", model.label_smoothing)
                                                           : std::string());
}

}  // namespace dptrain
