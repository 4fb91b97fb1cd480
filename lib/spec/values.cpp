#include "spec/values.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/divide.h"

namespace dptrain {
namespace {

bool is_digit(char c) {
  return '0' <= c && c <= '9';
}

/// Cuts a run of digits off the front; how many there were.
std::size_t take_digits(std::string_view& text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_digit);
  const auto count = static_cast<std::size_t>(end - text.begin());
  text.remove_prefix(count);
  return count;
}

struct Decimal {
  bool is_valid = false;
  bool is_integer = false;
};

/// [+-] digits [. digits] [e [+-] digits]; no leading zeros, which some readers take for octal.
Decimal classify(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  const bool leading_zero = text.size() > 1 && text[0] == '0' && is_digit(text[1]);
  const std::size_t whole = take_digits(text);
  if (leading_zero) return {};
  if (text.empty()) return {whole > 0, whole > 0};
  std::size_t fraction = 0;
  if (text.front() == '.') {
    text.remove_prefix(1);
    fraction = take_digits(text);
  }
  if (whole + fraction == 0) return {};
  if (!text.empty() && (text.front() == 'e' || text.front() == 'E')) {
    text.remove_prefix(1);
    if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
    if (take_digits(text) == 0) return {};
  }
  return {text.empty(), false};
}

/// Why a scalar that is not a decimal number might have been written.
std::string number_hint(const Node& node) {
  if (node.kind != Node::Kind::scalar) return "";
  if (node.is_quoted) return classify(node.text).is_valid ? "remove the quotes" : "";
  if (node.text.find_first_of("0123456789.") == std::string::npos) return "";
  return "write a plain decimal number";
}

std::string_view without_plus(std::string_view text) {
  return text.starts_with('+') ? text.substr(1) : text;
}

template <class Integer>
std::optional<Integer> read_integer(const Value& value, Integer min, Integer max) {
  const std::string range = fmt::format("an integer from {} to {}", min, max);
  const Node& node = value.node;
  const Decimal decimal = node.kind == Node::Kind::scalar && !node.is_quoted ? classify(node.text) : Decimal{};
  if (!decimal.is_integer) {
    value.expected(range, decimal.is_valid ? "write it without a fraction or exponent" : number_hint(node));
    return std::nullopt;
  }
  const std::string_view digits = without_plus(node.text);
  Integer out{};
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size() || out < min || out > max) {
    value.error(fmt::format("{} is out of range", in_quotes(node.text)), "expected " + range);
    return std::nullopt;
  }
  return out;
}

}  // namespace

bool is_plain_character(char c) {
  return is_digit(c) || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || c == '-' || c == '_' || c == '.';
}

bool Bounds::contain(double value) const {
  return (min_is_open ? value > min : value >= min) && (max_is_open ? value < max : value <= max);
}

std::string Bounds::text() const {
  if (std::isinf(min) && std::isinf(max)) return "";
  if (std::isinf(max)) return fmt::format(" {} {}", min_is_open ? "above" : "of at least", min);
  return fmt::format(" in {}{}, {}{}", min_is_open ? '(' : '[', min, max, max_is_open ? ')' : ']');
}

std::optional<bool> boolean(const Value& value) {
  if (!value.node.is_quoted && value.is_keyword("true")) return true;
  if (!value.node.is_quoted && value.is_keyword("false")) return false;
  value.expected("true or false");
  return std::nullopt;
}

std::optional<std::string> text(const Value& value) {
  if (value.node.kind != Node::Kind::scalar || value.node.text.empty()) {
    value.expected("text");
    return std::nullopt;
  }
  for (char c : value.node.text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) continue;
    value.error(fmt::format("control character 0x{:02x} in the text", byte), "write it on one line, without escapes");
    return std::nullopt;
  }
  return value.node.text;
}

std::optional<std::string> plain_name(const Value& value) {
  const std::optional<std::string> name = text(value);
  if (!name) return std::nullopt;
  constexpr std::size_t limit = 100;
  if (name->size() <= limit && name->front() != '.' && std::all_of(name->begin(), name->end(), is_plain_character))
    return name;
  value.error(fmt::format("{} is not a name", in_quotes(*name)),
              fmt::format("letters, digits, '-', '_' and '.' (not first), at most {}", limit));
  return std::nullopt;
}

std::optional<std::uint64_t> seed(const Value& value) {
  return read_integer<std::uint64_t>(value, 0, std::numeric_limits<std::uint64_t>::max());
}

Reader<std::int64_t> integer(std::int64_t min, std::int64_t max) {
  return [min, max](const Value& value) { return read_integer<std::int64_t>(value, min, max); };
}

Reader<std::int64_t> byte_count(std::int64_t min) {
  return [min](const Value& value) -> std::optional<std::int64_t> {
    static constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {{"KiB", std::int64_t{1} << 10},
                                                                           {"MiB", std::int64_t{1} << 20},
                                                                           {"GiB", std::int64_t{1} << 30},
                                                                           {"TiB", std::int64_t{1} << 40},
                                                                           {"kB", 1000},
                                                                           {"KB", 1000},
                                                                           {"MB", 1'000'000},
                                                                           {"GB", 1'000'000'000},
                                                                           {"TB", 1'000'000'000'000}};
    const Node& node = value.node;
    if (node.kind != Node::Kind::scalar || node.is_quoted)
      return read_integer<std::int64_t>(value, min, kMaxCount * 1024);
    for (const auto& [unit, factor] : kUnits) {
      if (!node.text.ends_with(unit)) continue;
      Node digits = node;
      digits.text.resize(node.text.size() - unit.size());
      while (digits.text.ends_with(' ')) digits.text.pop_back();
      if (classify(digits.text).is_integer) {
        const auto count = read_integer<std::int64_t>(Value{digits, value.path, value.block_at, value.diagnostics},
                                                      divide_up(min, factor), kMaxCount * 1024 / factor);
        return count ? std::optional(*count * factor) : std::nullopt;
      }
    }
    if (classify(node.text).is_integer) return read_integer<std::int64_t>(value, min, kMaxCount * 1024);
    value.expected("a number of bytes", "write an integer, or one with a unit: 512 MiB, 2 GiB");
    return std::nullopt;
  };
}

Reader<double> number(Bounds bounds) {
  return [bounds](const Value& value) -> std::optional<double> {
    const Node& node = value.node;
    if (node.kind != Node::Kind::scalar || node.is_quoted || !classify(node.text).is_valid) {
      value.expected("a number" + bounds.text(), number_hint(node));
      return std::nullopt;
    }
    const std::string_view digits = without_plus(node.text);
    double out = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    // Everything is computed in fp32; what that cannot hold would turn into infinity or zero behind the user's back.
    const bool fits = result.ec == std::errc() && std::abs(out) <= std::numeric_limits<float>::max() &&
                      (out == 0 || static_cast<float>(out) != 0);
    if (!fits || !bounds.contain(out)) {
      value.error(fmt::format("{} is out of range", in_quotes(node.text)),
                  fits ? fmt::format("expected a number{}", bounds.text()) : "it does not fit a 32-bit float");
      return std::nullopt;
    }
    return out;
  };
}

std::optional<Interval> interval(const Value& value) {
  constexpr std::string_view form = "an interval such as '100 steps' or '1 epoch'";
  if (value.node.kind != Node::Kind::scalar) {
    value.expected(form);
    return std::nullopt;
  }
  const std::string& whole = value.node.text;
  const std::size_t space = whole.find(' ');
  const bool two_words = space != std::string::npos && whole.find_first_not_of(' ', space) == whole.rfind(' ') + 1;
  const std::string unit = two_words ? whole.substr(whole.rfind(' ') + 1) : "";
  const bool steps = unit == "step" || unit == "steps";
  if (!steps && unit != "epoch" && unit != "epochs") {
    value.expected(form, classify(whole).is_valid ? fmt::format("write '{0} steps' or '{0} epochs'", whole) : "");
    return std::nullopt;
  }
  Node amount = value.node;
  amount.text = whole.substr(0, space);
  amount.is_quoted = false;
  const Value part{amount, value.path, value.block_at, value.diagnostics};
  if (steps) {
    const auto count = integer(1, kMaxCount)(part);
    return count ? std::optional(Interval{static_cast<double>(*count), Interval::Unit::steps}) : std::nullopt;
  }
  const auto count = number({1e-6, 1e6, false, false})(part);
  return count ? std::optional(Interval{*count, Interval::Unit::epochs}) : std::nullopt;
}

Reader<std::pair<std::int64_t, std::int64_t>> extents(std::int64_t min, std::int64_t max) {
  return [min, max](const Value& value) -> std::optional<std::pair<std::int64_t, std::int64_t>> {
    if (value.node.kind != Node::Kind::sequence) {
      const auto both = integer(min, max)(value);
      return both ? std::optional(std::pair(*both, *both)) : std::nullopt;
    }
    if (value.node.items.size() != 2) {
      value.error(fmt::format("expected one integer or [height, width], found a list of {}", value.node.items.size()));
      return std::nullopt;
    }
    const auto list = list_of<std::int64_t>(integer(min, max), "integers")(value);
    return list ? std::optional(std::pair((*list)[0], (*list)[1])) : std::nullopt;
  };
}

std::optional<Shape> sample_shape(const Value& value) {
  const auto list =
      list_of<std::int64_t>(integer(1, kMaxExtent), "integers: [features] or [channels, height, width]")(value);
  if (!list) return std::nullopt;
  if (list->size() != 1 && list->size() != 3) {
    value.error(fmt::format("a sample of {} axes", list->size()), "expected [features] or [channels, height, width]");
    return std::nullopt;
  }
  std::int64_t elements = 1;
  for (std::int64_t extent : *list) elements = std::min(elements * extent, kMaxExtent + 1);  // no overflow
  if (elements > kMaxExtent) {
    value.error("a sample of more than 16,777,216 values", "this is no shape of one sample");
    return std::nullopt;
  }
  return Shape(*list);
}

void refuse_name(const Value& at, std::string_view what, const std::string& name, const Names& valid,
                 const Names& later) {
  if (std::find(later.begin(), later.end(), name) != later.end()) {
    at.error(fmt::format("{} {} is not in this version of dptrain", what, in_quotes(name)),
             fmt::format("it has: {}", fmt::join(valid, ", ")));
  } else {
    at.error(fmt::format("unknown {} {}", what, in_quotes(name)), suggestion(name, valid));
  }
}

}  // namespace dptrain
