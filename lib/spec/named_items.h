// Purpose: items of lists that are written as `name`, `name: value` or `name: {setting: value}`: layers, augmentations.
// Thread safety: one reader at a time.
#pragma once

#include "spec/binder.h"

namespace dptrain {

/// Calls `read(name, settings)`, whose settings are nothing where the item is a bare name. Empty where it is no such
/// item, which is complained about: `what` it should be ("a layer"), and how that is written.
template <class Spec, class Read>
std::optional<Spec> read_named(const Value& item, std::string_view what, const std::string& how, const Read& read) {
  const Node& node = item.node;
  if (node.kind == Node::Kind::scalar) {
    Node nothing;
    nothing.at = node.at;
    return read(item, Value{nothing, item.path + "." + node.text, node.at, item.diagnostics});
  }
  if (node.kind == Node::Kind::map && node.keys.size() == 1) {
    Node name;
    name.kind = Node::Kind::scalar;
    name.at = node.keys[0].at;
    name.text = node.keys[0].text;
    return read(Value{name, item.path, name.at, item.diagnostics},
                Value{node.items[0], item.path + "." + name.text, name.at, item.diagnostics});
  }
  if (node.kind == Node::Kind::map && node.keys.size() > 1) {
    item.diagnostics.error(
        node.keys[1].at, fmt::format("{}: {} has one name, this has {} keys", item.path, what, node.keys.size()),
        fmt::format("indent the settings of '{0}' below it, or write '{0}: {{setting: value}}'", node.keys[0].text));
    return std::nullopt;
  }
  item.expected(what, how);
  return std::nullopt;
}

/// Whether a value stands where a map of settings may.
inline bool is_short_form(const Node& settings) {
  return settings.kind == Node::Kind::scalar || settings.kind == Node::Kind::sequence;
}

/// The settings as a map: `linear: 128` is short for `linear: {out_features: 128}`, of which out_features is the `main`
/// setting.
inline Node as_settings(const Node& settings, std::string_view main) {
  if (!is_short_form(settings) || main.empty()) return settings;
  return map_of(main, settings);
}

}  // namespace dptrain
