#include "spec/mode_settings.h"

#include "spec/blocks.h"
#include "spec/names.h"

namespace dptrain {
namespace {

void merge(Node& into, const Node& more);

void merge_keys(Node& into, const Node& more) {
  for (std::size_t i = 0; i < more.keys.size(); ++i) {
    if (Node* found = into.find(more.keys[i].text)) {
      merge(*found, more.items[i]);
    } else {
      into.keys.push_back(more.keys[i]);
      into.items.push_back(more.items[i]);
    }
  }
}

void merge(Node& into, const Node& more) {
  const bool both_maps = into.kind == Node::Kind::map && more.kind == Node::Kind::map;
  // The settings of another optimizer or schedule would be of no use to the one that is named.
  if (!both_maps || more.find("name") != nullptr) {
    into = more;
  } else {
    merge_keys(into, more);
  }
}

/// `more` is a map.
void merge_train(Node& into, const Node& more) {
  if (into.kind == Node::Kind::null) into = more;
  if (into.kind != Node::Kind::map) return;  // that is complained about anyway
  const bool epochs = more.find("epochs") != nullptr, steps = more.find("steps") != nullptr;
  if (epochs && !steps) into.erase("steps");
  if (steps && !epochs) into.erase("epochs");
  merge_keys(into, more);
}

std::string mode_of(const Node& root) {
  const Node* mode = root.find("mode");
  return mode != nullptr && mode->kind == Node::Kind::scalar ? mode->text : "sync";
}

}  // namespace

void apply_mode_settings(Node& root, OtherModes& others, Diagnostics& diagnostics) {
  if (root.kind != Node::Kind::map) return;
  const std::string own = mode_of(root);
  for (const std::string_view name : names::mode.names()) {
    const std::string mode(name);
    Node* block = root.find(mode);
    const Node* found = block != nullptr && block->kind == Node::Kind::map ? block->find("train") : nullptr;
    if (found == nullptr) continue;
    const Node train = *found;
    block->erase("train");
    if (train.kind != Node::Kind::map) {
      Value{train, mode + ".train", train.at, diagnostics}.expected("a map of settings");
      continue;
    }
    if (mode == own) {
      merge_train(root.find_or_add({"train", train.at}), train);
    } else {
      merge_train(others[mode], train);
    }
  }
}

void check_other_modes(const Node& root, const OtherModes& others, Diagnostics& diagnostics) {
  const Node* train = root.kind == Node::Kind::map ? root.find("train") : nullptr;
  if (train == nullptr || train->kind != Node::Kind::map) return;
  Diagnostics apart;
  read_train(Value{*train, "train", train->at, apart});
  if (apart.problems() > 0) return;
  for (const auto& [mode, more] : others) {
    Node merged = *train;
    merge_train(merged, more);
    read_train(Value{merged, mode + ".train", more.at, diagnostics});
  }
}

}  // namespace dptrain
