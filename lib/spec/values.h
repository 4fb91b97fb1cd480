// Purpose: readers of single values. Each is a function (or returns one) from a Value to an optional typed value; an
//   empty one has been complained about. Numbers are strict decimal: no hexadecimal, octal, nan, infinity, underscores,
//   quotes.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spec/binder.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Allowed values of a number; the ends belong to it unless they are open.
struct Bounds {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool min_is_open = false;
  bool max_is_open = false;

  bool contain(double value) const;
  /// "above 0", "in [0, 1)".
  std::string text() const;
};
inline constexpr Bounds kAtLeastZero{0, std::numeric_limits<double>::infinity(), false, false};
inline constexpr Bounds kAboveZero{0, std::numeric_limits<double>::infinity(), true, false};
inline constexpr Bounds kFraction{0, 1, false, false};
inline constexpr Bounds kBelowOne{0, 1, false, true};

/// Limits of what counts things; generous, and far from any overflow.
inline constexpr std::int64_t kMaxExtent = std::int64_t{1} << 24;  ///< features, channels, samples of a batch
inline constexpr std::int64_t kMaxKernel = 1024;                   ///< extents of kernels, strides, paddings
inline constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;   ///< steps, samples, bytes, elements

template <class T>
using Reader = std::function<std::optional<T>(const Value&)>;

std::optional<bool> boolean(const Value& value);
/// Any text without control characters; numbers count as text, nothing does not.
std::optional<std::string> text(const Value& value);
/// Letters, digits, '-', '_' and '.'.
bool is_plain_character(char c);
/// Of such characters, not '.' first; at most 100.
std::optional<std::string> plain_name(const Value& value);
std::optional<std::uint64_t> seed(const Value& value);
std::optional<Interval> interval(const Value& value);
Reader<std::int64_t> integer(std::int64_t min, std::int64_t max);
Reader<double> number(Bounds bounds);
/// An integer of at least `min`, which may have a unit: `2147483648`, `2 GiB`, `512MB`.
Reader<std::int64_t> byte_count(std::int64_t min);
/// One extent for both axes, or [height, width].
Reader<std::pair<std::int64_t, std::int64_t>> extents(std::int64_t min, std::int64_t max);
/// The shape of a sample: [features] or [channels, height, width].
std::optional<Shape> sample_shape(const Value& value);

/// A list of at least one; all its errors are reported.
template <class T>
Reader<std::vector<T>> list_of(Reader<T> item, std::string what) {
  return [item = std::move(item), what = std::move(what)](const Value& value) -> std::optional<std::vector<T>> {
    if (value.node.kind != Node::Kind::sequence || value.node.items.empty()) {
      value.expected("a list of " + what, "write [a, b, c]");
      return std::nullopt;
    }
    std::vector<T> out;
    for (std::size_t i = 0; i < value.node.items.size(); ++i) {
      const Node& node = value.node.items[i];
      const auto read = item(Value{node, fmt::format("{}.{}", value.path, i), node.at, value.diagnostics});
      if (read) out.push_back(*read);
    }
    if (out.size() != value.node.items.size()) return std::nullopt;
    return out;
  };
}

/// The keyword, which stands for "not set", or what `reader` reads.
template <class T>
Reader<std::optional<T>> or_keyword(std::string_view word, Reader<T> reader) {
  return [word, reader = std::move(reader)](const Value& value) -> std::optional<std::optional<T>> {
    if (value.is_keyword(word)) return std::optional<T>();
    Value other = value;
    other.keyword = word;
    if (std::optional<T> read = reader(other)) return std::optional<std::optional<T>>(std::move(read));
    return std::nullopt;
  };
}

/// The names that an enumeration has in a spec, and those that the design knows but this version does not have.
template <class E>
struct Choices {
  std::string_view what;  ///< "optimizer"
  std::vector<std::pair<std::string_view, E>> valid;
  Names later;

  Names names() const {
    Names out;
    for (const auto& [name, choice] : valid) out.push_back(name);
    return out;
  }
  std::string_view name_of(E choice) const {
    for (const auto& [name, candidate] : valid) {
      if (candidate == choice) return name;
    }
    return "?";
  }
};

/// Complains about `name`: planned for later, or unknown.
void refuse_name(const Value& at, std::string_view what, const std::string& name, const Names& valid,
                 const Names& later);

template <class E>
Reader<E> choice(const Choices<E>& choices) {
  return [&choices](const Value& value) -> std::optional<E> {
    if (value.node.kind != Node::Kind::scalar) {
      value.expected(fmt::format("the name of a {}", choices.what), suggestion("", choices.names()));
      return std::nullopt;
    }
    for (const auto& [name, candidate] : choices.valid) {
      if (value.node.text == name) return candidate;
    }
    refuse_name(value, choices.what, value.node.text, choices.names(), choices.later);
    return std::nullopt;
  };
}

}  // namespace dptrain
