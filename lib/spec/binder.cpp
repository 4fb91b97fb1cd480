#include "spec/binder.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace dptrain {
namespace {

/// Edits (insertion, deletion, replacement, swap of neighbours) that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const bool same = a[i - 1] == b[j - 1];
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

/// 0 for the same word; no nearer than `limit` means "another word".
std::size_t distance(const std::string& name, std::string_view valid, std::size_t limit) {
  if (name.size() > 64) return limit;
  const bool part = name.size() >= 4 && valid.find(name) != std::string_view::npos;
  return part ? 1 : std::min(edit_distance(name, valid), limit);
}

std::string found_text(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::sequence:
      return node.items.empty() ? "an empty list" : "a list";
    case Node::Kind::map:
      return "a map";
    default:
      return node.is_quoted ? fmt::format("the text {}", in_quotes(node.text)) : in_quotes(node.text);
  }
}

std::string join(std::string_view a, std::string_view b) {
  return a.empty() ? std::string(b) : fmt::format("{}.{}", a, b);
}

}  // namespace

void Value::error(const std::string& message, const std::string& hint) const {
  if (node.kind == Node::Kind::broken) return diagnostics.skip();
  diagnostics.error(node.at, path.empty() ? message : fmt::format("{}: {}", path, message), hint);
}

void Value::expected(std::string_view what, const std::string& hint) const {
  const std::string or_keyword = keyword.empty() ? "" : fmt::format(", or '{}'", keyword);
  error(fmt::format("expected {}{}, found {}", what, or_keyword, found_text(node)), hint);
}

std::string_view nearest(const std::string& name, const Names& valid) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return 'A' <= c && c <= 'Z' ? c + 32 : c; });
  if (lower == "gpu" || lower == "gpus") lower = "cuda";  // nearer to "cpu" as it is spelled
  const std::size_t limit = std::clamp<std::size_t>(name.size() / 3, 1, 3) + 1;
  std::string_view found;
  std::size_t best = limit;
  for (std::string_view candidate : valid) {
    const std::size_t d = distance(lower, candidate, limit);
    if (d < best) best = d, found = candidate;
  }
  return found;
}

std::string suggestion(const std::string& name, const Names& valid) {
  const std::string_view near = nearest(name, valid);
  if (!near.empty()) return fmt::format("did you mean '{}'?", near);
  return fmt::format("valid are: {}", fmt::join(valid, ", "));
}

MapReader::MapReader(const Value& block, MapStyle style)
    : given_(block),
      main_(block.node.kind == Node::Kind::scalar ? style.main : ""),
      tried_(main_.empty() ? Node{} : map_of(main_, block.node)),
      block_{main_.empty() ? block.node : tried_, block.path, block.block_at,
             main_.empty() ? block.diagnostics : unheard_, block.keyword},
      title_(style.title.empty() ? block.path : style.title),
      is_map_(block_.node.kind == Node::Kind::map) {
  if (is_map_) return;
  if (style.may_be_empty && block.node.kind == Node::Kind::null) {
    is_map_ = true;
  } else {
    block.expected("a map of settings");
  }
}

MapReader::~MapReader() {
  refuse_single_value();  // of a reader that gave up early
}

Names MapReader::settings() const {
  Names keys;
  for (const Taken& taken : taken_) keys.push_back(taken.key);
  return keys;
}

void MapReader::refuse_single_value() {
  if (main_.empty()) return;
  const std::string value = printable(given_.node.text, 60);
  const std::string others = lacking_.empty() ? "" : fmt::format(", {}: ...", fmt::join(lacking_, ": ..., "));
  given_.expected("a map of settings", unheard_.problems() == lacking_.size()
                                           ? fmt::format("write {{{}: {}{}}}", main_, value, others)
                                           : fmt::format("write {{{}: ...}}; {}", main_, unheard_.first()));
  main_ = {};
}

const Node* MapReader::find(std::string_view key) const {
  return block_.node.kind == Node::Kind::map ? block_.node.find(std::string(key)) : nullptr;
}

std::string MapReader::path_of(std::string_view key) const {
  return join(block_.path, key);
}

std::optional<Value> MapReader::take(std::string_view key, const Names& aliases) {
  Taken taken{key, ""};
  const Node* node = find(key);
  if (node != nullptr) taken.written = key;
  for (std::string_view alias : aliases) {
    aliases_.push_back(alias);
    const Node* other = find(alias);
    if (other == nullptr) continue;
    if (node != nullptr) {
      block_.diagnostics.error(other->at,
                               fmt::format("{} and {} are the same setting", path_of(taken.written), path_of(alias)),
                               "give one of them");
      continue;
    }
    node = other;
    taken.written = alias;
  }
  taken_.push_back(taken);
  if (node == nullptr) return std::nullopt;
  const auto index = static_cast<std::size_t>(node - block_.node.items.data());
  return Value{*node, path_of(taken.written), block_.node.keys[index].at, block_.diagnostics};
}

void MapReader::later(std::string_view key, const std::string& what_there_is) {
  aliases_.push_back(key);
  if (find(key) == nullptr) return;
  for (const Key& found : block_.node.keys) {
    if (found.text != key) continue;
    block_.diagnostics.error(found.at, fmt::format("{}: not in this version of dptrain", path_of(key)), what_there_is);
  }
}

Mark MapReader::at(std::string_view key) const {
  for (const Taken& taken : taken_) {
    if (taken.key == key && !taken.written.empty()) return find(taken.written)->at;
  }
  return block_.block_at;
}

void MapReader::error(std::string_view key, const std::string& message, const std::string& hint) {
  block_.diagnostics.error(at(key), fmt::format("{}: {}", path_of(key), message), hint);
}

void MapReader::missing(std::string_view key, const std::string& hint) {
  if (!is_map_) return;
  lacking_.push_back(key);
  const std::string where = title_.empty() ? "the spec" : title_;
  // A name that the command line gave asks for more than the block in the file has.
  const Node* name = find("name");
  const bool renamed = name != nullptr && name->at.source != nullptr && name->at.source->is_argument;
  block_.diagnostics.error(renamed ? name->at : block_.block_at,
                           fmt::format("{} lacks the required key '{}'", where, key), hint);
}

void MapReader::finish() {
  if (block_.node.kind != Node::Kind::map) return;
  refuse_single_value();
  const Names valid = settings();
  Names known = valid;
  known.insert(known.end(), aliases_.begin(), aliases_.end());
  for (const Key& key : block_.node.keys) {
    if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
    const std::string where = title_.empty() ? "at the top of the spec" : "in " + title_;
    const std::string hint = valid.empty() ? "it takes no settings" : suggestion(key.text, valid);
    block_.diagnostics.error(key.at, fmt::format("unknown key {} {}", in_quotes(key.text), where), hint);
  }
}

}  // namespace dptrain
