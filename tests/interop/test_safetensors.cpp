// What is written is read back, bit for bit; the bytes themselves are fixed.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <random>
#include <sstream>

#include "core/error.h"
#include "interop/safetensors.h"

using namespace dptrain;

namespace {

std::string written(std::vector<SafeTensorView> tensors,
                    const std::map<std::string, std::string, std::less<>>& metadata = {}) {
  std::ostringstream out;
  write_safetensors(out, std::move(tensors), metadata);
  return out.str();
}

SafetensorsFile parsed(const std::string& bytes) {
  return parse_safetensors(std::as_bytes(std::span(bytes)), "memory");
}

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::failed);
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("every dtype, scalars and empty tensors come back as they were") {
  const std::vector<float> floats = {
      1.5f, -0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e-45f, 3};
  const std::vector<std::int64_t> longs = {std::numeric_limits<std::int64_t>::min(), 7};
  const std::vector<std::int32_t> ints = {-5};
  const std::vector<std::uint8_t> bytes = {0, 255, 3};
  const SafetensorsFile file = parsed(written({{"b.weight", {2, 3}, floats},
                                               {"labels \"\n\u00e9", {2}, longs},
                                               {"scalar", {}, ints},
                                               {"bytes", {3, 1}, bytes},
                                               {"empty", {4, 0}, std::span<const float>{}}},
                                              {{"format", "x"}, {"a", "\"quoted\"\n"}}));
  CHECK(file.tensors.size() == 5);
  CHECK(file.tensor("b.weight").shape == std::vector<std::int64_t>{2, 3});
  REQUIRE(file.floats("b.weight").size() == 6);
  CHECK(std::memcmp(file.floats("b.weight").data(), floats.data(), 24) == 0);
  CHECK(std::get<std::vector<std::int64_t>>(file.tensor("labels \"\n\u00e9").values) == longs);
  CHECK(file.tensor("scalar").shape.empty());
  CHECK(file.values<std::int32_t>("scalar")[0] == -5);
  CHECK(std::get<std::vector<std::uint8_t>>(file.tensor("bytes").values) == bytes);
  CHECK(file.tensor("empty").shape == std::vector<std::int64_t>{4, 0});
  CHECK(file.floats("empty").empty());
  CHECK(file.metadata.at("format") == "x");
  CHECK(file.metadata.at("a") == "\"quoted\"\n");
}

TEST_CASE("the bytes are fixed: header padded with spaces, names sorted, wide elements first") {
  const std::vector<float> floats = {1, 2};
  const std::vector<std::uint8_t> bytes = {65, 66, 67};
  const std::vector<SafeTensorView> tensors = {
      {"b", {1}, std::span(floats).first(1)}, {"a", {2, 1}, floats}, {"0", {3}, bytes}};
  const std::string file = written(tensors, {{"k", "v"}});
  std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"0":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}})";
  while (header.size() % 8 != 0) header += ' ';
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  CHECK(length == header.size());
  CHECK(file.substr(8, length) == header);
  CHECK(file.size() == 8 + length + 15);
  CHECK(file.substr(8 + length + 12) == "ABC");
  CHECK(written({tensors[2], tensors[0], tensors[1]}, {{"k", "v"}}) == file);
}

TEST_CASE("a file with nothing in it") {
  CHECK(parsed(written({})).tensors.empty());
  CHECK(written({}).size() == 16);
}

TEST_CASE("any set of tensors comes back, and is written to the same bytes again") {
  CHECK(rc::check([](const std::map<std::string, std::vector<float>>& floats,
                     const std::map<std::string, std::vector<std::uint8_t>>& bytes) {
    std::vector<SafeTensorView> views;
    std::vector<std::string> names;
    const auto hex = [](const std::string& text) {  // rapidcheck's strings are not all UTF-8
      std::string out;
      for (const unsigned char c : text) out += "0123456789abcdef"[c / 16], out += "0123456789abcdef"[c % 16];
      return out;
    };
    for (const auto& [name, values] : floats) {
      views.push_back({fmt::format("f{}", hex(name)), {static_cast<std::int64_t>(values.size())}, values});
    }
    for (const auto& [name, values] : bytes) {
      views.push_back({fmt::format("b{}", hex(name)), {1, static_cast<std::int64_t>(values.size())}, values});
    }
    const std::string file = written(views);
    const SafetensorsFile read = parsed(file);
    RC_ASSERT(read.tensors.size() == views.size());
    std::vector<SafeTensorView> again;
    for (const auto& [name, tensor] : read.tensors) {
      std::visit([&](const auto& values) { again.push_back({name, tensor.shape, std::span(values)}); }, tensor.values);
    }
    RC_ASSERT(written(again) == file);
  }));
}

TEST_CASE("on disk, and what is said about files that cannot be used") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("dptrain_safetensors_" + std::to_string(std::random_device{}()));
  std::filesystem::create_directories(folder);
  const std::vector<float> values = {1, 2, 3};
  write_safetensors(folder / "x.safetensors", {{"x", {3}, values}});
  const SafetensorsFile file = read_safetensors(folder / "x.safetensors");
  CHECK(file.floats("x")[2] == 3);
  CHECK(message_of([&] { file.tensor("y"); }).ends_with("x.safetensors: no tensor \"y\"; there are 1: x"));
  CHECK(message_of([&] { file.values<std::int64_t>("x"); }).ends_with("tensor \"x\" has dtype F32; expected I64"));
  CHECK(message_of([&] { read_safetensors(folder / "none"); }).find("none: ") != std::string::npos);
  CHECK(message_of([&] { read_safetensors(folder); }).find("not a regular file") != std::string::npos);
  CHECK(message_of([&] { write_safetensors(folder, {}); }).find("cannot be opened") != std::string::npos);
  if (std::filesystem::exists("/dev/full")) {
    CHECK(message_of([&] { write_safetensors("/dev/full", {{"x", {3}, values}}); }).find("/dev/full: writing") == 0);
  }
  std::filesystem::remove_all(folder);
}

TEST_CASE("the writer refuses what it was given wrongly") {
  const std::vector<float> values = {1, 2, 3};
  CHECK_THROWS(written({{"x", {2}, values}}));
  CHECK_THROWS(written({{"x", {-3}, values}}));
  CHECK_THROWS(written({{"__metadata__", {3}, values}}));
  CHECK_THROWS(written({{"x", {3}, values}, {"x", {3}, values}}));
}

TEST_CASE("a file of the Python package is read") {
  const SafetensorsFile file = read_safetensors(DPTRAIN_TESTS_DIR "/golden/package.safetensors");
  CHECK(file.tensors.size() == 7);
  CHECK(file.metadata.at("format") == "np");
  CHECK(file.tensor("weight").shape == std::vector<std::int64_t>{3, 4});
  for (std::size_t k = 0; k < 12; ++k) CHECK(file.floats("weight")[k] == static_cast<float>(k) / 8);
  CHECK(file.floats("bias").size() == 3);
  CHECK(file.tensor("scalar").shape.empty());
  CHECK(file.floats("scalar")[0] == 2.5f);
  CHECK(file.tensor("none").shape == std::vector<std::int64_t>{0, 4});
  CHECK(file.values<std::int64_t>("labels")[2] == std::int64_t{1} << 40);
  CHECK(file.values<std::int32_t>("steps")[1] == -8);
  CHECK(file.values<std::uint8_t>("pixels")[4] == 4);
}

TEST_CASE("files that another program wrote are read") {
  const SafetensorsFile file = read_safetensors(DPTRAIN_TESTS_DIR "/golden/models/cnn.safetensors");
  CHECK(file.tensor("init.0.weight").shape == std::vector<std::int64_t>{8, 1, 3, 3});
  CHECK(file.floats("losses").size() == 10);
  CHECK(file.values<std::int64_t>("labels").size() == 240);
  CHECK(file.values<std::uint8_t>("inputs").size() == 10 * 24 * 14 * 14);
  CHECK(file.metadata.contains("train"));
}
