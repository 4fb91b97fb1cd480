#include "spec/text_rules.h"

#include <string_view>

#include "core/error.h"
#include "spec/tree.h"

namespace dptrain {
namespace {

/// Length of the well-formed UTF-8 sequence at `text[i]` (Unicode 15, table 3-7), or 0.
std::size_t utf8_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
  const auto between = [](unsigned b, unsigned low, unsigned high) { return low <= b && b <= high; };
  const auto tail = [&](std::size_t k) { return between(byte(k), 0x80, 0xBF); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (between(lead, 0xC2, 0xDF)) return tail(1) ? 2 : 0;
  if (between(lead, 0xE0, 0xEF)) {
    const bool second = between(byte(1), lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF);
    return second && tail(2) ? 3 : 0;
  }
  if (between(lead, 0xF0, 0xF4)) {
    const bool second = between(byte(1), lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(const std::string& text) {
  for (std::size_t i = 0, length = 0; i < text.size(); i += length) {
    length = utf8_length(text, i);
    if (length == 0) return false;
  }
  return true;
}

bool is_text(const std::string& text, const Source& source, Diagnostics& diagnostics) {
  int line = 1, column = 1;
  const auto complain = [&](const std::string& message, const std::string& hint) {
    const SourceMark at =
        source.is_argument ? SourceMark{source.name, 0, 0, ""} : SourceMark{source.name, line, column, ""};
    diagnostics.error(at, message, hint);
    return false;
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0) return complain(fmt::format("byte 0x{:02x} is not UTF-8", byte), "save the file as UTF-8");
    if (byte == 0) return complain("a NUL character", "a spec is plain UTF-8 text");
    if (byte == '\r' && (i + 1 == text.size() || text[i + 1] != '\n')) {
      return complain("a carriage return without a line feed", "end lines with a line feed");
    }
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) {
      return complain(fmt::format("control character 0x{:02x}", byte), "a spec is plain UTF-8 text");
    }
    i += length;
    ++column;
    if (byte == '\n') ++line, column = 1;
  }
  return true;
}

bool has_directive(const Source& source, Diagnostics& diagnostics) {
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    const std::string& line = source.lines[i];
    if (line.starts_with('%')) {
      diagnostics.error(Mark{&source, static_cast<int>(i) + 1, 1}, "directives (%NAME) are not allowed",
                        "remove the line");
      return true;
    }
    const std::size_t first = line.find_first_not_of(" \t");
    if (first != std::string::npos && line[first] != '#') return false;
  }
  return false;
}

bool has_long_line(const Source& source, Diagnostics& diagnostics) {
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    if (code_points(source.lines[i]) <= TreeLimits::columns) continue;
    diagnostics.error(Mark{&source, static_cast<int>(i) + 1, 1},
                      fmt::format("a line of more than {} characters", TreeLimits::columns), "break the line");
    return true;
  }
  return false;
}

}  // namespace dptrain
