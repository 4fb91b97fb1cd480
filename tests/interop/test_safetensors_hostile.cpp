// Files that are wrong are refused with a reason, whatever is wrong with them.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstring>
#include <limits>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "interop/safetensors.h"

using namespace dptrain;

namespace {

/// A file with this header and so many bytes of data; `claimed` replaces the length of the header.
std::string make(const std::string& header, std::size_t data, std::optional<std::uint64_t> claimed = {}) {
  const std::uint64_t length = claimed.value_or(header.size());
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data, '\x07');
}

SafetensorsFile parse(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "F");
}

/// The message of the refusal, or "accepted"; any other exception fails the test.
std::string refusal(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::failed);
    return error.what();
  }
  return "accepted";
}

const std::string kGood = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

}  // namespace

TEST_CASE("wrong files are refused, each with its reason") {
  REQUIRE(refusal(make(kGood, 8)) == "accepted");
  const std::string two =
      R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":)";
  struct Case {
    std::string bytes, reason;
  };
  const std::vector<Case> cases = {
      {"", "offset 0: 0 bytes are too few"},
      {std::string(7, '\0'), "offset 0: 7 bytes are too few"},
      {make("", 0), "offset 8: the header does not begin with '{'"},
      {make(kGood, 8, 1000), "offset 0: a header of 1000 bytes, but 62 follow"},
      {make(kGood, 8, ~std::uint64_t{0}), "offset 0: a header of 18446744073709551615 bytes; at most"},
      {make(kGood, 8, std::uint64_t{1} << 40), "at most"},
      {make(kGood, 8, 10), "offset 18: the header is not valid JSON"},
      {make(" " + kGood, 8), "does not begin with '{'"},
      {make("[]", 0), "does not begin with '{'"},
      {make(kGood + "x", 8), "offset 62: the header is not valid JSON"},
      {make(kGood + std::string(2, '\0'), 8), "offset 62: a zero byte in the header"},
      {make("{\"\xff\":{}}", 0), "not valid JSON"},
      {make(R"({"a":1e999})", 0), "out of range"},
      {make(R"({"a":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 8), "\"dtype\" occurs twice"},
      {make(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}})", 0), "\"a\" occurs twice"},
      {make(R"({"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}})", 0), "\"a\" occurs twice"},
      {make(R"({"a":[[[]]]})", 0), "nested more than three"},
      {make("{\"a\":" + std::string(100000, '['), 0), "nested more than three"},
      {make(R"({"a":7})", 0), "tensor \"a\" is not an object"},
      {make(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"extra":1}})", 8), "unknown key \"extra\""},
      {make(R"({"a":{"shape":[8],"data_offsets":[0,8]}})", 8), "dtype is missing"},
      {make(R"({"a":{"dtype":"U8","data_offsets":[0,8]}})", 8), "shape is missing"},
      {make(R"({"a":{"dtype":"U8","shape":[8]}})", 8), "data_offsets is missing"},
      {make(tensor("5", "[2]", "[0,8]"), 8), "dtype is not a string"},
      {make(tensor("\"F16\"", "[4]", "[0,8]"), 8), "dtype \"F16\" is not supported; F32"},
      {make(tensor("\"f32\"", "[2]", "[0,8]"), 8), "dtype \"f32\" is not supported"},
      {make(tensor("\"F32\"", "2", "[0,8]"), 8), "shape is not a list"},
      {make(tensor("\"F32\"", "[-2]", "[0,8]"), 8), "an extent is not a whole number"},
      {make(tensor("\"F32\"", "[2.0]", "[0,8]"), 8), "an extent is not a whole number"},
      {make(tensor("\"F32\"", "[\"2\"]", "[0,8]"), 8), "an extent is not a whole number"},
      {make(tensor("\"F32\"", "[18446744073709551618]", "[0,8]"), 8), "an extent is not a whole number"},
      {make(tensor("\"F32\"", "[9223372036854775808]", "[0,8]"), 8), "product of the shape overflows"},
      {make(tensor("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0), "product of the shape overflows"},
      {make(tensor("\"F32\"", "[4611686018427387904]", "[0,0]"), 0), "product of the shape overflows"},
      {make(tensor("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), 0), "product of the shape overflows"},
      {make(tensor("\"F32\"", "[2]", "[0]"), 8), "data_offsets are not two numbers"},
      {make(tensor("\"F32\"", "[2]", "[0,4,8]"), 8), "data_offsets are not two numbers"},
      {make(tensor("\"F32\"", "[2]", "{\"a\":0,\"b\":8}"), 8), "data_offsets are not two numbers"},
      {make(tensor("\"F32\"", "[2]", "[0,8.0]"), 8), "an offset is not a whole number"},
      {make(tensor("\"F32\"", "[2]", "[8,0]"), 8), "data_offsets [8, 0] run backwards"},
      {make(tensor("\"F32\"", "[2]", "[0,8]"), 7), "end at 8, but the file has 7 bytes"},
      {make(tensor("\"F32\"", "[3]", "[0,8]"), 8), "need 12 bytes, data_offsets have 8"},
      {make(tensor("\"I64\"", "[2]", "[0,8]"), 8), "need 16 bytes, data_offsets have 8"},
      {make(tensor("\"F32\"", "[2]", "[0,8]"), 9), "1 bytes belong to no tensor"},
      {make(tensor("\"F32\"", "[2]", "[4,12]"), 12), "4 bytes belong to no tensor"},
      {make(two + "[5,9]}}", 9), "1 bytes belong to no tensor"},
      {make(two + "[3,7]}}", 7), "tensor \"b\" overlaps the one before"},
      {make(two + "[0,4]}}", 4), "overlaps the one before"},
      {make("{}", 1), "1 bytes belong to no tensor"},
      {make(R"({"__metadata__":[]})", 0), "__metadata__ is not an object"},
      {make(R"({"__metadata__":{"a":1}})", 0), "the value of \"a\" is not a string"},
      {make(R"({"__metadata__":{"a":"1","a":"1"}})", 0), "\"a\" occurs twice"},
      {make("{\"\\u001b[31m\":5}", 0), "tensor \"\\u001b[31m\" is not an object"},
  };
  for (const Case& wrong : cases) {
    const std::string said = refusal(wrong.bytes);
    CAPTURE(said);
    CHECK_MESSAGE(said.find(wrong.reason) != std::string::npos, "expected: ", wrong.reason);
    CHECK(said.starts_with("F: not a valid safetensors file: offset "));
    CHECK(said.size() < 400);
  }
  MESSAGE(cases.size(), " wrong files");
}

namespace {

std::string sample_file() {
  static const std::vector<float> floats = {1, -2, std::numeric_limits<float>::quiet_NaN()};
  static const std::vector<std::int64_t> longs = {5, -6};
  static const std::vector<std::uint8_t> bytes = {1, 2, 3};
  std::ostringstream out;
  write_safetensors(out, {{"w", {3, 1}, floats}, {"n", {2}, longs}, {"b", {3}, bytes}}, {{"k", "v"}});
  return out.str();
}

/// Everything that a reader sees, as text, NaN payloads included.
std::string content(const SafetensorsFile& file) {
  std::ostringstream out;
  std::vector<SafeTensorView> views;
  for (const auto& [name, held] : file.tensors) {
    std::visit([&](const auto& values) { views.push_back({name, held.shape, std::span(values)}); }, held.values);
  }
  write_safetensors(out, views, file.metadata);
  return out.str();
}

}  // namespace

TEST_CASE("a flipped bit is refused or seen, never passed over") {
  const std::string good = sample_file();
  const std::string expected = content(parse(good));
  std::uint64_t header = 0;
  std::memcpy(&header, good.data(), 8);
  int refused = 0;
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      CAPTURE(i);
      CAPTURE(bit);
      std::string bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      std::optional<std::string> seen;
      try {
        seen = content(parse(bytes));
      } catch (const Error&) {
        ++refused;
      }
      if (i < 8) CHECK(!seen);           // no other length fits
      if (i >= 8 + header) CHECK(seen);  // data can hold any bits
      if (seen) CHECK(*seen != expected);
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("every shorter file is refused, and so is a longer one") {
  const std::string good = sample_file();
  for (std::size_t length = 0; length < good.size(); ++length) CHECK(refusal(good.substr(0, length)) != "accepted");
  CHECK(refusal(good + "x") != "accepted");
}

TEST_CASE("bytes strewn into a file never do more than have it refused") {
  const std::string good = sample_file();
  CHECK(rc::check([&](const std::vector<std::pair<std::uint16_t, char>>& changes) {
    std::string bytes = good;
    for (const auto& [at, value] : changes) bytes[8 + at % (bytes.size() - 8)] = value;
    try {
      content(parse(bytes));
    } catch (const Error& error) {
      RC_ASSERT(error.status() == ExitStatus::failed);
    }
  }));
}
