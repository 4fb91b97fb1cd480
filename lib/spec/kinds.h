// Purpose: blocks whose `name` decides what else is in them. Thread safety: one reader at a time.
#pragma once

#include "spec/values.h"

namespace dptrain {

/// Where the name of a block decides what else is in it.
template <class Kind>
std::optional<Kind> read_kind(MapReader& map, const Choices<Kind>& choices) {
  std::optional<Kind> kind;
  if (const std::optional<Value> name = map.take("name")) {
    kind = choice(choices)(*name);
  } else {
    map.missing("name", suggestion("", choices.names()));
  }
  return kind;
}

/// The keys of a block can only be judged once its name is known.
inline std::string block_title(const Value& block, std::string_view what) {
  const Node* name = block.node.kind == Node::Kind::map ? block.node.find("name") : nullptr;
  return name != nullptr && name->kind == Node::Kind::scalar ? fmt::format("{} {}", what, name->text) : block.path;
}

}  // namespace dptrain
