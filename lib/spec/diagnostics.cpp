#include "spec/diagnostics.h"

#include <algorithm>
#include <tuple>

#include "core/error.h"
#include "spec/reader.h"

namespace dptrain {
namespace {

constexpr std::size_t kMaxKept = 100;         // complaints; more are only counted
constexpr std::size_t kExcerptColumns = 120;  // of a longer line only the part around the caret is shown

bool starts_code_point(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

/// The line of the source and a caret below its column.
std::string excerpt(const Source& source, int line, int column) {
  const auto row = static_cast<std::size_t>(line - 1);
  const std::string text = row < source.lines.size() ? source.lines[row] : std::string();
  if (text.empty()) return "";
  const std::size_t length = code_points(text);
  const auto caret = std::min(static_cast<std::size_t>(std::max(column, 1) - 1), length);
  const std::size_t first = length <= kExcerptColumns || caret <= kExcerptColumns / 2 ? 0 : caret - kExcerptColumns / 2;
  const std::string before = columns(text, first, caret - first);
  const std::string after = columns(text, caret, kExcerptColumns - (caret - first));
  const std::string_view cut_left = first > 0 ? "..." : "";
  const std::string_view cut_right = first + kExcerptColumns < length ? "..." : "";
  std::string padding;  // a tab above stays a tab below, so that the caret lines up
  for (char c : before) {
    if (starts_code_point(c)) padding += c == '\t' ? '\t' : ' ';
  }
  return fmt::format("  {}{}{}\n  {:{}}{}^\n", cut_left, printable(before + after, kExcerptColumns), cut_right, "",
                     cut_left.size(), padding);
}

}  // namespace

std::size_t code_points(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_code_point));
}

std::string columns(const std::string& text, std::size_t first, std::size_t count) {
  std::string out;
  std::size_t index = 0;
  for (char c : text) {
    if (starts_code_point(c)) ++index;
    if (index > first && index - first <= count) out += c;
  }
  return out;
}

std::string printable(const std::string& text, std::size_t limit) {
  std::string out = columns(text, 0, limit);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7F) c = '?';
  }
  return out;
}

std::string in_quotes(const std::string& text) {
  constexpr std::size_t limit = 60;
  std::string shown = printable(text, limit);
  std::replace(shown.begin(), shown.end(), '\t', ' ');
  return fmt::format("'{}{}'", shown, code_points(text) > limit ? "..." : "");
}

Source Source::of(std::string name, const std::string& text, bool is_argument) {
  Source source{std::move(name), {}, is_argument};
  std::size_t begin = 0;
  while (begin <= text.size()) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    source.lines.push_back(std::move(line));
    begin = end + 1;
  }
  return source;
}

SourceMark Mark::outlive() const {
  if (source == nullptr) return {};
  if (source->is_argument) return {source->name, 0, 0, excerpt(*source, line, column)};
  return {source->name, line, column, excerpt(*source, line, column)};
}

void Diagnostics::error(const Mark& at, const std::string& message, const std::string& hint) {
  if (found_.size() >= kMaxKept) {
    ++dropped_;
  } else {
    error(at.outlive(), message, hint);
  }
}

void Diagnostics::error(const SourceMark& at, const std::string& message, const std::string& hint) {
  if (found_.size() >= kMaxKept) {
    ++dropped_;
    return;
  }
  if (found_.empty()) first_ = hint.empty() ? message : fmt::format("{} ({})", message, hint);
  const std::string text = complaint(at, message) + (hint.empty() ? "" : fmt::format("  hint: {}\n", hint));
  // A layer that is repeated has the same fault every time.
  if (found_.empty() || found_.back().text != text) found_.push_back({at, text});
}

void Diagnostics::throw_if_any() const {
  if (found_.empty()) return;
  std::vector<const Found*> order;
  for (const Found& found : found_) order.push_back(&found);
  std::stable_sort(order.begin(), order.end(), [](const Found* a, const Found* b) {
    const auto key = [](const Found* f) { return std::make_tuple(f->at.line == 0, f->at.line, f->at.column); };
    return key(a) < key(b);
  });
  std::string message;
  for (const Found* found : order) message += found->text;
  if (dropped_ > 0) message += fmt::format("and {} more errors\n", dropped_);
  message.pop_back();  // the last line end is the printer's
  throw Error(ExitStatus::usage, message);
}

std::string complaint(const SourceMark& at, const std::string& message) {
  std::string place;
  if (!at.file.empty()) place = at.line > 0 ? fmt::format("{}:{}:{}: ", at.file, at.line, at.column) : at.file + ": ";
  return fmt::format("{}error: {}\n{}", place, message, at.excerpt);
}

}  // namespace dptrain
