// Purpose: a YAML text as a small tree with marks, built from the parser's events. Strict: anchors, aliases, tags,
//   duplicate keys, directives, several documents, other encodings than UTF-8 are refused by name, and size, depth,
//   node count and line length are bounded, so that no text can exhaust memory or stack.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "spec/diagnostics.h"

namespace dptrain {

/// A key of a map and where it stands.
struct Key {
  std::string text;
  Mark at;
};

struct Node {
  enum class Kind {
    null,  ///< nothing, `~` or `null`
    scalar,
    sequence,
    map,
    broken,  ///< already complained about; whoever meets it says nothing more
  };
  Kind kind = Kind::null;
  Mark at;
  std::string text;         ///< of a scalar
  bool is_quoted = false;   ///< a scalar in quotes or a block: text, never a number or a boolean
  std::vector<Key> keys;    ///< of a map: keys[i] names items[i]; no two are equal
  std::vector<Node> items;  ///< of a map or a sequence

  /// The value of `key`, or null.
  Node* find(const std::string& key);
  const Node* find(const std::string& key) const { return const_cast<Node*>(this)->find(key); }
  /// The value of `key`, made at its place where it is missing. The reference holds until the map changes.
  Node& find_or_add(const Key& key);
  void erase(const std::string& key);
};

/// A map of one key, which stands where the value does.
Node map_of(std::string_view key, const Node& value);

struct TreeLimits {
  static constexpr std::size_t bytes = std::size_t{1} << 20;
  static constexpr int depth = 32;
  static constexpr std::size_t nodes = 50000;
  static constexpr std::size_t columns = 10000;  ///< of a line; complaints show lines
};

/// Parses `text`, which lies in the first line of `source` from column `first_column` on (1 for files). The root is
/// broken where the text is not acceptable YAML as a whole; what is wrong is in `diagnostics`.
Node parse_tree(const std::string& text, const Source& source, int first_column, Diagnostics& diagnostics);

}  // namespace dptrain
