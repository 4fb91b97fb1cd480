// Purpose: values as the writers of blocks have them. Thread safety: pure functions.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "spec/job_spec.h"

namespace dptrain {

/// In double quotes, so that no text can be taken for a number or for nothing. The reader lets no control character in.
inline std::string quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// The value, or the word that stands for "not set".
template <class T>
std::string value_or(const std::optional<T>& value, std::string_view word) {
  return value ? fmt::format("{}", *value) : std::string(word);
}

inline std::string interval_or(const std::optional<Interval>& interval, std::string_view word) {
  if (!interval) return std::string(word);
  const char* many = interval->every == 1 ? "" : "s";
  if (interval->unit == Interval::Unit::epochs) return fmt::format("{} epoch{}", interval->every, many);
  return fmt::format("{} step{}", static_cast<std::int64_t>(interval->every), many);
}

}  // namespace dptrain
