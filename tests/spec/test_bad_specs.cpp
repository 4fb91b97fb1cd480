// Each file of bad/ and bad_descriptors/ is refused with exactly the message beside it, NAME.txt. To accept changed
// messages after reading them, run with DPTRAIN_ACCEPT_MESSAGES=1 and look at the difference.

#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

#include "spec/descriptor.h"
#include "spec/text_rules.h"
#include "spec_support.h"

namespace dptrain::testing {
namespace {

void compare(const std::filesystem::path& file, std::string message) {
  const std::filesystem::path expected = std::filesystem::path(file).replace_extension(".txt");
  message += '\n';
  if (std::getenv("DPTRAIN_ACCEPT_MESSAGES") != nullptr) std::ofstream(expected, std::ios::binary) << message;
  const bool is_expected = message == contents(expected);
  CHECK_MESSAGE(is_expected, file.filename().string(), " says:\n", message);
}

std::string without(std::string text, const std::string& part) {
  for (std::size_t at; (at = text.find(part)) != std::string::npos;) text.erase(at, part.size());
  return text;
}

/// Lines of the message that are a caret below the line of the file, each with that line.
std::vector<std::pair<std::string, std::string>> carets(const std::string& message) {
  std::vector<std::pair<std::string, std::string>> found;
  std::istringstream lines(message);
  for (std::string before, line; std::getline(lines, line); before = line) {
    if (line.find_first_not_of(" \t") == line.size() - 1 && line.ends_with('^')) found.emplace_back(before, line);
  }
  return found;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

}  // namespace

TEST_CASE("wrong job specs are refused, each with its whole message") {
  const auto files = yaml_files(kTests / "spec" / "bad");
  CHECK(files.size() >= 45);
  for (const auto& file : files) {
    compare(file, refusal([&] { read_job_text(contents(file), file.filename()); }));
  }
}

TEST_CASE("wrong dataset descriptors are refused, each with its whole message") {
  const auto files = yaml_files(kTests / "spec" / "bad_descriptors");
  CHECK(files.size() >= 15);
  for (const auto& file : files) {
    const std::string folder = (file.parent_path() / "").string();
    compare(file, without(refusal([&] { read_descriptor(file); }), folder));
  }
}

TEST_CASE("every complaint has a place, a line with a caret inside it, and no control characters") {
  for (const auto& file : yaml_files(kTests / "spec" / "bad")) {
    const std::string message = refusal([&] { read_job_text(contents(file), file.filename()); });
    CAPTURE(message);
    CHECK(message.starts_with(file.filename().string() + ":"));
    CHECK(message.find(": error: ") != std::string::npos);
    CHECK(std::none_of(message.begin(), message.end(),
                       [](char c) { return (c & 0x7F) < 0x20 && (c & 0x80) == 0 && c != '\n' && c != '\t'; }));
    // Nothing is shown of an empty text, or of one that no terminal should see.
    const std::string text = contents(file);
    Diagnostics ignored;
    const bool is_shown = !text.empty() && is_text(text, Source::of("", text, false), ignored);
    CHECK(carets(message).size() == (is_shown ? count_of(message, ": error: ") : 0));
    for (const auto& [line, caret] : carets(message)) {
      CAPTURE(line);
      CHECK(code_points(caret) <= code_points(line));
    }
  }
}

}  // namespace dptrain::testing
