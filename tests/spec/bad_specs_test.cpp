// Each file of bad/ and bad_descriptors/ is refused with exactly the message beside it, NAME.txt. To accept changed
// messages after reading them, run with DPTRAIN_ACCEPT_MESSAGES=1 and look at the difference.

#include <doctest/doctest.h>

#include <cstdlib>

#include "spec/descriptor.h"
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
  }
}

}  // namespace dptrain::testing
