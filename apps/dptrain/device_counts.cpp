#include "dptrain/device_counts.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <string_view>

#include "core/error.h"

namespace dptrain {

namespace {

constexpr int kMost = 4096;  // devices, as everywhere

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  fail(ExitStatus::usage, "--devices takes numbers from 1 to {}, such as 1,2,4,8 or 1,2,4,...,1024, not '{}': {}",
       kMost, text, why);
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

int read_count(std::string_view part, const std::string& text) {
  int count = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), count);
  if (error != std::errc() || end != part.data() + part.size() || count < 1 || count > kMost)
    refuse(text, fmt::format("'{}' is none", part));
  return count;
}

/// Appends what comes after `counts`, up to `last`.
void go_on(std::vector<int>& counts, int last, const std::string& text) {
  if (counts.size() < 2) refuse(text, "an ellipsis needs two numbers before it");
  const int first = counts.front(), step = counts[1] - first;
  if (step <= 0) refuse(text, "before an ellipsis they ascend");
  const auto follow = [&](auto next) {
    for (std::size_t k = 1; k < counts.size(); ++k)
      if (next(counts[k - 1]) != counts[k]) return false;
    std::vector<int> more;
    for (int count = next(counts.back()); count < last; count = next(count)) more.push_back(count);
    const int end = next(more.empty() ? counts.back() : more.back());
    if (end != last) return false;
    counts.insert(counts.end(), more.begin(), more.end());
    return true;
  };
  const bool has_ratio = counts[1] % first == 0;
  if (has_ratio && follow([ratio = counts[1] / first](int count) { return count * ratio; })) return;
  if (follow([step](int count) { return count + step; })) return;
  refuse(text, fmt::format("it does not go on to {}", last));
}

}  // namespace

std::vector<int> read_device_counts(const std::string& text) {
  const std::vector<std::string_view> parts = split(text);
  std::vector<int> counts;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    if (parts[k] != "...") {
      counts.push_back(read_count(parts[k], text));
      continue;
    }
    if (k + 1 == parts.size()) refuse(text, "an ellipsis needs a number after it");
    go_on(counts, read_count(parts[k + 1], text), text);
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

}  // namespace dptrain
