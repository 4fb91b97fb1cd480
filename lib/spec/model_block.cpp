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

std::optional<LayerSpec> read_settings(const Value& name, const Value& settings) {
  const std::string& written = name.node.text;
  const LayerKind* kind = find_layer_kind(name, written);
  if (kind == nullptr) return std::nullopt;
  if (kind->main.empty() && is_short_form(settings.node)) {
    settings.expected("a map of settings", fmt::format("write '{}: {{setting: value}}'", written));
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

/// `repeat: {times: N, layers: [...]}`, written out: what comes of it is as if the layers had been written N times. With
/// `recompute: true` each time is a block of its own.
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

}  // namespace dptrain
