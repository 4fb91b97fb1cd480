#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "core/error.h"
#include "data/images/image_files.h"

namespace dptrain {
namespace {

bool is_image(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string suffix(name.substr(dot + 1));
  for (char& c : suffix) c = 'A' <= c && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return suffix == "jpg" || suffix == "jpeg" || suffix == "png";
}

std::string_view first_part(std::string_view name) {
  return name.substr(0, name.find('/'));
}

/// The one folder around everything, with its '/'; empty where train/ is at the top.
std::string common_folder(const std::vector<std::string>& names) {
  std::string_view common;
  for (const std::string& name : names) {
    const std::string_view first = first_part(name);
    if (first == "train") return "";
    if (first.size() == name.size()) continue;  // a file at the top
    if (!common.empty() && common != first) return "";
    common = first;
  }
  return common.empty() ? "" : fmt::format("{}/", common);
}

/// "CLASS/..." of a name in `folder`; empty where it is not an image there.
std::string_view in_class(std::string_view name, std::string_view around, std::string_view folder) {
  if (!name.starts_with(around)) return {};
  name.remove_prefix(around.size());
  if (first_part(name) != folder || name.size() <= folder.size()) return {};
  name.remove_prefix(folder.size() + 1);
  const std::size_t slash = name.find('/');
  if (slash == std::string_view::npos || slash == 0 || !is_image(name)) return {};
  return name.substr(0, slash);
}

using ByClass = std::map<std::string, std::vector<std::uint32_t>, std::less<>>;

ByClass collect(const std::vector<std::string>& names, std::string_view around, std::string_view folder) {
  ByClass found;
  auto last = found.end();  // names are sorted: most are of the class before
  for (std::size_t k = 0; k < names.size(); ++k) {
    const std::string_view name = in_class(names[k], around, folder);
    if (name.empty()) continue;
    if (last == found.end() || last->first != name) last = found.try_emplace(std::string(name)).first;
    last->second.push_back(static_cast<std::uint32_t>(k));
  }
  return found;
}

/// The first of each class, the second of each class, and so on.
void interleave(const ByClass& found, const std::vector<std::string>& classes, ClassFolders::Split& split) {
  std::size_t most = 0;
  for (const auto& [name, entries] : found) most = std::max(most, entries.size());
  std::vector<std::pair<const std::vector<std::uint32_t>*, std::int32_t>> lists;
  for (const auto& [name, entries] : found) {
    const auto label = std::lower_bound(classes.begin(), classes.end(), name) - classes.begin();
    lists.emplace_back(&entries, static_cast<std::int32_t>(label));
  }
  for (std::size_t round = 0; round < most; ++round) {
    for (const auto& [entries, label] : lists) {
      if (round >= entries->size()) continue;
      split.entries.push_back((*entries)[round]);
      split.labels.push_back(label);
    }
  }
}

}  // namespace

std::string shown(std::string name) {
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (name.size() > 300) name = name.substr(0, 297) + "...";
  return name;
}

ClassFolders find_classes(const std::vector<std::string>& names, const std::string& where) {
  const std::string around = common_folder(names);
  const ByClass train = collect(names, around, "train");
  if (train.empty()) {
    fail(ExitStatus::data, "{}: expected images as train/CLASS/NAME.jpg (or .jpeg, .png); found none", where);
  }
  ByClass test;
  for (const char* folder : {"test", "val", "valid", "validation"}) {
    test = collect(names, around, folder);
    if (!test.empty()) break;
  }
  if (test.empty()) {
    fail(ExitStatus::data, "{}: expected images to test with as test/CLASS/NAME.jpg, or below val/; found none", where);
  }
  ClassFolders out;
  for (const auto& [name, entries] : train) out.classes.push_back(name);
  if (out.classes.size() < 2) {
    fail(ExitStatus::data, "{}: expected two classes or more in train/, found {} alone", where, shown(out.classes[0]));
  }
  for (const auto& [name, entries] : test) {
    if (train.contains(name)) continue;
    fail(ExitStatus::data, "{}: {} has images of the class '{}', of which train/ has none", where,
         shown(names[entries.front()]), shown(name));
  }
  interleave(train, out.classes, out.train);
  interleave(test, out.classes, out.test);
  out.others = static_cast<std::int64_t>(names.size() - out.train.entries.size() - out.test.entries.size());
  return out;
}

}  // namespace dptrain
