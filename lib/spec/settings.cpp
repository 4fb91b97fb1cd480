#include "spec/settings.h"

#include <fmt/ranges.h>

#include "core/error.h"
#include "spec/reader.h"
#include "spec/tree.h"

namespace dptrain {
namespace {

std::string flow_text(const Node& node) {
  if (node.kind == Node::Kind::null) return "null";
  if (node.kind == Node::Kind::scalar) return node.text;
  std::vector<std::string> items;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const std::string item = flow_text(node.items[i]);
    items.push_back(node.kind == Node::Kind::map ? fmt::format("{}: {}", node.keys[i].text, item) : item);
  }
  const std::string all = fmt::format("{}", fmt::join(items, ", "));
  return node.kind == Node::Kind::map ? fmt::format("{{{}}}", all) : fmt::format("[{}]", all);
}

void collect(const Node& node, const std::string& path, std::vector<Setting>& settings) {
  if (node.kind != Node::Kind::map) {
    settings.emplace_back(path, flow_text(node));
    return;
  }
  for (std::size_t i = 0; i < node.keys.size(); ++i)
    collect(node.items[i], fmt::format("{}.{}", path, node.keys[i].text), settings);
}

}  // namespace

std::vector<Setting> settings_of(const JobSpec& job, const std::string& block) {
  const std::string text = to_yaml(job);
  const Source source = Source::of("the resolved spec", text, false);
  Diagnostics diagnostics;
  const Node root = parse_tree(text, source, 1, diagnostics);
  DPTRAIN_CHECK(diagnostics.problems() == 0, "the resolved spec cannot be read");
  std::vector<Setting> settings;
  if (const Node* found = root.find(block)) collect(*found, block, settings);
  return settings;
}

}  // namespace dptrain
