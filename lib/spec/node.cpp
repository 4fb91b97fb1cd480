#include "spec/tree.h"

namespace dptrain {

Node map_of(std::string_view key, const Node& value) {
  Node map;
  map.kind = Node::Kind::map;
  map.at = value.at;
  map.keys = {Key{std::string(key), value.at}};
  map.items = {value};
  return map;
}

Node* Node::find(const std::string& key) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].text == key) return &items[i];
  }
  return nullptr;
}

Node& Node::find_or_add(const Key& key) {
  if (Node* found = find(key.text)) return *found;
  keys.push_back(key);
  items.emplace_back();
  items.back().at = key.at;
  return items.back();
}

void Node::erase(const std::string& key) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].text != key) continue;
    keys.erase(keys.begin() + static_cast<std::ptrdiff_t>(i));
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
}

}  // namespace dptrain
