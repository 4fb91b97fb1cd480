#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "interop/safetensors.h"

namespace dptrain {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is copied as it is, and is little-endian");

constexpr std::array kTypes = {"F32", "I64", "I32", "U8"};  // in the order of SafeTensorView::Values

std::span<const std::byte> bytes_of(const SafeTensorView& tensor) {
  return std::visit([](auto values) { return std::as_bytes(values); }, tensor.values);
}

std::size_t element_size(const SafeTensorView& tensor) {
  return std::visit([](auto values) { return sizeof(values[0]); }, tensor.values);
}

void require_valid(const SafeTensorView& tensor) {
  DPTRAIN_CHECK(tensor.name != "__metadata__", "a tensor must not be called __metadata__");
  std::size_t elements = 1;
  for (const std::int64_t extent : tensor.shape) {
    DPTRAIN_CHECK(extent >= 0 && !__builtin_mul_overflow(elements, static_cast<std::size_t>(extent), &elements),
                  "tensor {}: the shape is negative or overflows", tensor.name);
  }
  const std::size_t given = bytes_of(tensor).size() / element_size(tensor);
  DPTRAIN_CHECK(elements == given, "tensor {}: {} values for a shape of {}", tensor.name, given, elements);
}

/// Ends in spaces up to a multiple of 8 bytes, so that the data is aligned in the file.
std::string header_of(const std::vector<SafeTensorView>& tensors,
                      const std::map<std::string, std::string, std::less<>>& metadata) {
  using nlohmann::json;
  std::vector<std::string> entries;
  if (!metadata.empty()) entries.push_back("\"__metadata__\":" + json(metadata).dump());
  std::size_t begin = 0;
  for (const SafeTensorView& tensor : tensors) {
    const std::size_t end = begin + bytes_of(tensor).size();
    entries.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json(tensor.name).dump(), kTypes[tensor.values.index()], fmt::join(tensor.shape, ","),
                                  begin, end));
    begin = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

void write_safetensors(std::ostream& out, std::vector<SafeTensorView> tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const SafeTensorView& a, const SafeTensorView& b) {
    const std::size_t size_a = element_size(a), size_b = element_size(b);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  for (const SafeTensorView& tensor : tensors) require_valid(tensor);
  std::vector<std::string_view> names;
  for (const SafeTensorView& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  DPTRAIN_CHECK(twice == names.end(), "two tensors are called {}", *twice);

  const std::string header = header_of(tensors, metadata);
  DPTRAIN_CHECK(header.size() <= kSafetensorsHeaderLimit, "a safetensors header of {} bytes", header.size());
  const std::uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const SafeTensorView& tensor : tensors) {
    const auto bytes = bytes_of(tensor);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  out.flush();
  if (!out) fail(ExitStatus::failed, "writing a safetensors file failed; is the disk full?");
}

void write_safetensors(const std::filesystem::path& file, std::vector<SafeTensorView> tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  if (!out) fail(ExitStatus::failed, "{}: cannot be opened for writing", file.string());
  try {
    write_safetensors(out, std::move(tensors), metadata);
  } catch (const Error& error) {
    fail(error.status(), "{}: {}", file.string(), error.what());
  }
}

}  // namespace dptrain
