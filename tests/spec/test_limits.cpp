// What no file may do to the reader: exhaust its stack or memory, or hang it. Run under AddressSanitizer this shows
// that the event parser's recursion is bounded.

#include <doctest/doctest.h>

#include <string>

#include "spec_support.h"

namespace dptrain::testing {
namespace {

std::string repeated(const std::string& part, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

std::string staircase(int levels) {
  std::string out;
  for (int i = 0; i < levels; ++i) out += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  return out;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("deep nesting is refused by name, whatever the brackets") {
  for (const std::string part : {"[", "- ", "{", "{a: ", "[{", "? ", ": ", "[[{a: ", "- - ? "}) {
    CAPTURE(part);
    CHECK(contains(refusal_of(repeated(part, 100000)), "nested deeper than 32 levels"));
    CHECK(contains(refusal_of("model: " + repeated(part, 100000)), "error: "));
  }
  CHECK(contains(refusal_of(staircase(40)), "nested deeper than 32 levels"));
  CHECK(contains(refusal_of(staircase(1000)), "nested deeper than 32 levels"));
}

TEST_CASE("nesting up to the limit is only a matter of types") {
  const std::string message = refusal_of("name: " + repeated("[", 31) + repeated("]", 31) + "\n");
  CHECK(contains(message, "name: expected text, found a list"));
  CHECK_FALSE(contains(message, "nested"));
  CHECK(contains(refusal_of("name: " + repeated("[", 32) + repeated("]", 32) + "\n"), "nested deeper than 32"));
}

TEST_CASE("node properties in any number are refused") {
  CHECK(contains(refusal_of(repeated("&a ", 100000)), "error: "));
  CHECK(contains(refusal_of(repeated("!x ", 100000)), "error: "));
  CHECK(contains(refusal_of("a: &x [" + repeated("*x,", 1000) + "]\n"), "aliases (*name) are not allowed"));
}

TEST_CASE("files over 1 MiB, and files of too many values, are refused") {
  CHECK(refusal_of(kSmallSpec + repeated("# padding\n", 110000)) ==
        "job.yaml: error: larger than 1 MiB\n  hint: a job spec is a few kilobytes");
  std::string just_fits = kSmallSpec + repeated("# padding\n", 110000);
  just_fits.resize(1u << 20);
  CHECK(refusal_of(just_fits) == "accepted");
  CHECK(contains(refusal_of("a: [" + repeated("1, ", 60000) + "]\n"), "more than 50000 values"));
}

TEST_CASE("a flood of errors is cut") {
  std::string keys;
  for (int i = 0; i < 500; ++i) keys += "unknown" + std::to_string(i) + ": 1\n";
  const std::string message = refusal_of(kSmallSpec + keys);
  CHECK(contains(message, "and 400 more errors"));
  CHECK_FALSE(contains(message, "unknown100:"));
}

// Each would take minutes where the place of a value was counted from its line's beginning.
TEST_CASE("a line of 1 MiB full of errors, values or nothings ends in a message") {
  std::string tags = "[";
  tags += repeated("!a,", 300000);
  CHECK(contains(refusal_of(tags), "more errors"));
  CHECK(contains(refusal_of("name: [" + repeated("ä,", 15000) + "]\n"), "a line of more than 10000 characters"));
  CHECK(contains(refusal_of("model: {layers: [" + repeated("relu,", 15000) + "]}\n"),
                 "a line of more than 10000 characters"));
  CHECK(refusal_of("name: " + std::string(900000, ' ') + "[" + repeated("? , ", 15000) + "]\n") != "accepted");
}

TEST_CASE("long scalars, keys and lines end in one short message") {
  const std::string a(1000000, 'a');
  for (const std::string& text : {a, a + ": 1\n", "name: " + a + "\n", "name: \"" + a, "name: '" + a + "\n",
                                  "seed: " + std::string(100000, '9')}) {
    CHECK(refusal_of(text).size() < 4000);
  }
}

TEST_CASE("a quote that is not closed is named, also at the very end") {
  CHECK(contains(refusal_of(kSmallSpec + "name: \"abc\n"), "job.yaml:9:7: error: this quote is not closed"));
  CHECK(contains(refusal_of(kSmallSpec + "name: 'it''s\n"), "job.yaml:9:7: error: this quote is not closed"));
  CHECK(refusal_of(kSmallSpec + "name: \"abc\"\n") == "accepted");
  CHECK(refusal_of(kSmallSpec + "name: 'abc' # it's\n") == "accepted");
  const std::string rest = kSmallSpec.substr(kSmallSpec.find('\n') + 1);
  CHECK(refusal_of(rest + "dataset: {path: \"/数据\", format: \"idx\"}\n") == "accepted");
  CHECK(contains(refusal_of(kSmallSpec + "\"größe\": \"abc\n"), "job.yaml:9:10: error: this quote is not closed"));
}

TEST_CASE("files that cannot be read are refused with the reason") {
  CHECK(refusal([] { read_job("no/such/file.yaml"); }) ==
        "no/such/file.yaml: error: cannot read it: No such file or directory\n  hint: check the path");
  CHECK(contains(refusal([] { read_job(std::filesystem::temp_directory_path()); }), "is a folder"));
}

TEST_CASE("a byte order mark and carriage returns before line feeds change nothing") {
  std::string windows = "\xEF\xBB\xBF";
  for (char c : kSmallSpec) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  CHECK(read_job_text(windows, "job.yaml") == read_job_text(kSmallSpec, "job.yaml"));
  CHECK(contains(refusal_of(windows + "sead: 1\r\n"), "job.yaml:9:1: error: unknown key 'sead'"));
}

}  // namespace dptrain::testing
