// Purpose: from tree nodes to struct members. A MapReader knows which keys were asked for, and so which are unknown and
//   what the valid ones are; a reader (see values.h) turns one Value into a typed one or complains. Nothing throws: all
//   complaints of a file come together.
// Thread safety: one reader at a time.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/diagnostics.h"
#include "spec/tree.h"

namespace dptrain {

/// A node, and what to call it in messages.
struct Value {
  const Node& node;
  std::string path;  ///< as `--set` takes it: "train.optimizer.lr", "model.layers.0"; empty for the whole file
  Mark block_at;     ///< where its key stands: the place to say what it lacks
  Diagnostics& diagnostics;
  std::string_view keyword{};  ///< what would do too, whatever its type

  /// Complains about the value itself.
  void error(const std::string& message, const std::string& hint = "") const;
  /// Complains about its type; says nothing of a broken node.
  void expected(std::string_view what, const std::string& hint = "") const;
  /// In quotes too, which those who write YAML by a library put around any text.
  bool is_keyword(std::string_view word) const { return node.kind == Node::Kind::scalar && node.text == word; }
};

using Names = std::vector<std::string_view>;

/// The one of `valid` that `name` was surely meant for; empty where none is near.
std::string_view nearest(const std::string& name, const Names& valid);
/// "did you mean 'x'?" where one of `valid` is near to `name`, else the list of them.
std::string suggestion(const std::string& name, const Names& valid);

/// How a block presents itself in messages.
struct MapStyle {
  std::string title = "";      ///< where the path would not do: "optimizer sgd"
  std::string_view main = "";  ///< the setting that a single value in place of the block was surely meant for
  bool may_be_empty = false;   ///< nothing reads as an empty map
};

/// Reads the keys of one map. Call finish() last: it names the keys that nobody asked for.
/// A single value in place of the map is refused. It is read all the same, as that of the style's main setting and with
/// nothing said of what is wrong in it: so finish() knows whether that can be written, and what else would have to be.
class MapReader {
 public:
  explicit MapReader(const Value& block, MapStyle style = {});
  ~MapReader();
  MapReader(const MapReader&) = delete;
  MapReader& operator=(const MapReader&) = delete;

  /// The value of `key` or of one of its `aliases`; both at once is an error. Makes the key known.
  std::optional<Value> take(std::string_view key, const Names& aliases = {});

  /// Reads `key` into `out`; complains where it is missing. True where `out` has been set.
  template <class T, class Reader>
  bool required(std::string_view key, T& out, const Reader& reader, const Names& aliases = {}) {
    const std::optional<Value> value = take(key, aliases);
    if (!value) missing(key);
    return value && read(*value, out, reader);
  }
  /// The same; `out` keeps its default where the key is missing. False only where the value is wrong.
  template <class T, class Reader>
  bool optional(std::string_view key, T& out, const Reader& reader, const Names& aliases = {}) {
    const std::optional<Value> value = take(key, aliases);
    return !value || read(*value, out, reader);
  }

  /// Refuses a key that is known but not in this version; `what_there_is` tells what to do without it.
  void later(std::string_view key, const std::string& what_there_is);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Where the value of `key` or of an alias stands that was taken; the block itself where there is none.
  Mark at(std::string_view key) const;
  /// Complains about the combination in which `key` stands.
  void error(std::string_view key, const std::string& message, const std::string& hint = "");
  void missing(std::string_view key, const std::string& hint = "");
  void finish();

  bool is_map() const { return is_map_; }
  std::string path_of(std::string_view key) const;
  /// The keys that have been asked for, and those of them that are required and not there.
  Names settings() const;
  const Names& lacking() const { return lacking_; }

 private:
  struct Taken {
    std::string_view key;
    std::string_view written;  // the key or its alias, as the file has it; empty where it is missing
  };

  const Node* find(std::string_view key) const;
  template <class T, class Reader>
  static bool read(const Value& value, T& out, const Reader& reader) {
    auto result = reader(value);
    if (!result) return false;
    out = std::move(*result);
    return true;
  }

  void refuse_single_value();

  const Value given_;
  std::string_view main_;  // of a single value that has not been refused yet
  const Node tried_;       // the map that it was meant for
  Diagnostics unheard_;
  const Value block_;  // what is read
  Names lacking_;
  std::string title_;
  bool is_map_;
  std::vector<Taken> taken_;
  Names aliases_;
};

}  // namespace dptrain
