#include "spec/overrides.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "spec/text_rules.h"

namespace dptrain {
namespace {

/// How the argument begins, in front of its value. Only --set shows the path.
std::string argument_head(const Override& override_) {
  return override_.flag == "--set" ? fmt::format("--set {}=", override_.path) : override_.flag + " ";
}

/// The names of a path, each with where it stands.
std::vector<Key> split_path(const Override& override_, const Source& source, const Mark& value_at) {
  std::vector<Key> segments;
  const bool shows_path = override_.flag == "--set";
  auto column = static_cast<int>(code_points(override_.flag)) + 2;
  std::size_t begin = 0;
  while (begin <= override_.path.size()) {
    const std::size_t end = std::min(override_.path.find('.', begin), override_.path.size());
    segments.push_back({override_.path.substr(begin, end - begin), shows_path ? Mark{&source, 1, column} : value_at});
    column += static_cast<int>(code_points(segments.back().text)) + 1;
    begin = end + 1;
  }
  return segments;
}

/// One step down the tree, or null where there is no way and that has been said.
Node* step_into(Node& node, const Key& segment, const std::string& path, Diagnostics& diagnostics) {
  switch (node.kind) {
    case Node::Kind::null:
      node.kind = Node::Kind::map;
      node.at = segment.at;
      return &node.find_or_add(segment);
    case Node::Kind::map:
      return &node.find_or_add(segment);
    case Node::Kind::broken:
      return nullptr;
    case Node::Kind::scalar:
      diagnostics.error(segment.at, fmt::format("{} is {}, not a block of settings", path, in_quotes(node.text)),
                        fmt::format("set {} itself", path));
      return nullptr;
    case Node::Kind::sequence:
      break;
  }
  std::size_t index = 0;
  const char* end = segment.text.data() + segment.text.size();
  const auto result = std::from_chars(segment.text.data(), end, index);
  if (result.ec == std::errc() && result.ptr == end && index < node.items.size()) return &node.items[index];
  diagnostics.error(
      segment.at, fmt::format("{} has no entry {}", path, in_quotes(segment.text)),
      node.items.empty() ? "the list is empty" : fmt::format("its entries are 0 to {}", node.items.size() - 1));
  return nullptr;
}

void set_value(Node& root, const std::vector<Key>& segments, Node value, Diagnostics& diagnostics) {
  Node *map = nullptr, *node = &root;
  std::string path;
  for (const Key& segment : segments) {
    map = node;
    node = step_into(*node, segment, path, diagnostics);
    if (node == nullptr) return;
    path += (path.empty() ? "" : ".") + segment.text;
  }
  *node = std::move(value);
  // What the value lacks is said where its key stands, and that is the command line now.
  if (map->kind == Node::Kind::map)
    map->keys[static_cast<std::size_t>(node - map->items.data())].at = segments.back().at;
}

/// The number of epochs gives way to a number of steps of the command line, and the other way round, in `train` and in
/// what a mode says of it: of several lengths the last one counts.
void drop_other_length(Node& root, const std::string& path) {
  const bool steps = path.ends_with("train.steps");
  if (!steps && !path.ends_with("train.epochs")) return;
  Node* block = &root;
  for (std::size_t begin = 0, end; block != nullptr && (end = path.find('.', begin)) != std::string::npos;
       begin = end + 1)
    block = block->find(path.substr(begin, end - begin));
  if (block != nullptr) block->erase(steps ? "epochs" : "steps");
}

Node cuda_at(const Mark& at) {
  Node cuda;
  cuda.kind = Node::Kind::scalar;
  cuda.at = at;
  cuda.text = "cuda";
  return cuda;
}

}  // namespace

void expand_gpus(Node& root) {
  const Node* count = root.find("gpus");
  if (count == nullptr || root.find("devices") != nullptr) return;
  for (std::size_t i = 0; i < root.keys.size(); ++i) {
    if (root.keys[i].text != "gpus") continue;
    root.keys[i].text = "devices";
    const Mark at = root.keys[i].at;
    Node devices;
    devices.kind = Node::Kind::map;
    devices.at = at;
    devices.keys = {Key{"type", at}, Key{"count", at}};
    devices.items = {cuda_at(at), *count};
    root.items[i] = std::move(devices);
    return;
  }
}

Source source_of_override(const Override& override_) {
  Source source = Source::of("", argument_head(override_) + override_.value, true);
  source.name = is_utf8(source.lines.front()) ? printable(source.lines.front(), 80) : override_.flag;
  return source;
}

void apply_override(Node& root, const Override& override_, const Source& source, Diagnostics& diagnostics) {
  if (!is_text(override_.path, source, diagnostics)) return;
  const auto value_column = static_cast<int>(code_points(argument_head(override_))) + 1;
  const Mark value_at{&source, 1, value_column};
  const std::vector<Key> segments = split_path(override_, source, value_at);
  if (segments.size() > static_cast<std::size_t>(TreeLimits::depth)) {
    diagnostics.error(segments.front().at, fmt::format("a path of more than {} names", TreeLimits::depth));
    return;
  }
  for (const Key& segment : segments) {
    if (!segment.text.empty()) continue;
    diagnostics.error(segment.at, "an empty name in the path", "write it like train.optimizer.lr=0.1");
    return;
  }
  Node value = parse_tree(override_.value, source, value_column, diagnostics);
  if (root.kind != Node::Kind::map) return;  // the file itself is complained about
  drop_other_length(root, override_.path);
  if (override_.path == "gpus") {
    const Mark at = segments.front().at;
    set_value(root, {{"devices", at}, {"type", at}}, cuda_at(at), diagnostics);
    set_value(root, {{"devices", at}, {"count", at}}, std::move(value), diagnostics);
  } else {
    set_value(root, segments, std::move(value), diagnostics);
  }
}

}  // namespace dptrain
