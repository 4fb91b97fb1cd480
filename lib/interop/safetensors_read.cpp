#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/error.h"
#include "interop/safetensors.h"

namespace dptrain {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little, "safetensors data is copied as it is, and is little-endian");

constexpr std::uint64_t kLengthBytes = 8;

/// Copies `count` bytes at `offset` of the file.
using Fetch = std::function<void(std::uint64_t offset, void* to, std::uint64_t count)>;

/// A name from the file as it may stand in a message: escaped, and cut where it is long.
std::string in_quotes(std::string_view name) {
  if (name.size() > 80) name = name.substr(0, 80);
  return json(name).dump(-1, ' ', true, json::error_handler_t::replace);
}

class Reader {
 public:
  Reader(std::string source, std::uint64_t size, Fetch fetch)
      : source_(std::move(source)), size_(size), fetch_(std::move(fetch)) {}

  SafetensorsFile read() {
    const json header = parse(read_header());
    SafetensorsFile file;
    file.source = source_;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") {
        file.metadata = metadata(entry);
      } else {
        ranges_.push_back(range(name, entry));
      }
    }
    require_exact_cover();  // before anything is allocated for data
    for (const Range& range : ranges_) file.tensors.emplace(range.name, load(range));
    return file;
  }

 private:
  enum class Type { f32, i64, i32, u8 };
  struct Range {
    std::string name;
    Type type;
    std::vector<std::int64_t> shape;
    std::uint64_t elements, begin, end;  // begin and end count from the start of the data
  };

  template <class... Args>
  [[noreturn]] void refuse(std::uint64_t offset, fmt::format_string<Args...> format, Args&&... args) const {
    dptrain::fail(ExitStatus::failed, "{}: not a valid safetensors file: offset {}: {}", source_, offset,
                  fmt::format(format, std::forward<Args>(args)...));
  }
  /// Complaints about what the header says, as opposed to how it is written, name the tensor; the offset is the
  /// header's.
  template <class... Args>
  [[noreturn]] void refuse_header(fmt::format_string<Args...> format, Args&&... args) const {
    refuse(kLengthBytes, "{}", fmt::format(format, std::forward<Args>(args)...));
  }

  std::string read_header() {
    if (size_ < kLengthBytes) refuse(0, "{} bytes are too few for the header's length", size_);
    std::uint64_t length = 0;
    fetch_(0, &length, kLengthBytes);
    if (length > kSafetensorsHeaderLimit)
      refuse(0, "a header of {} bytes; at most {} are read", length, kSafetensorsHeaderLimit);
    if (length > size_ - kLengthBytes) refuse(0, "a header of {} bytes, but {} follow", length, size_ - kLengthBytes);
    data_begin_ = kLengthBytes + length;
    std::string text(length, '\0');
    fetch_(kLengthBytes, text.data(), length);
    if (!text.starts_with('{')) refuse(kLengthBytes, "the header does not begin with '{{'");
    // The JSON parser would take a zero byte for the end and pass over what follows.
    if (const auto zero = text.find('\0'); zero != text.npos) refuse(kLengthBytes + zero, "a zero byte in the header");
    return text;
  }

  json parse(const std::string& text) const {
    std::vector<std::set<std::string>> keys;  // of each object that is open
    const auto check = [&](int depth, json::parse_event_t event, json& value) {
      using Event = json::parse_event_t;
      if ((event == Event::object_start || event == Event::array_start) && depth > 2) {
        refuse_header("the header is nested more than three levels deep");
      }
      if (event == Event::object_start) keys.emplace_back();
      if (event == Event::object_end) keys.pop_back();
      if (event == Event::key && !keys.back().insert(value.get_ref<const std::string&>()).second) {
        refuse_header("the key {} occurs twice", in_quotes(value.get_ref<const std::string&>()));
      }
      return true;
    };
    try {
      return json::parse(text, check);
    } catch (const json::parse_error& error) {
      refuse(kLengthBytes + std::max<std::size_t>(error.byte, 1) - 1, "the header is not valid JSON");
    } catch (const json::exception&) {  // a number beyond the range of double
      refuse_header("the header holds a number out of range");
    }
  }

  std::map<std::string, std::string, std::less<>> metadata(const json& entry) const {
    if (!entry.is_object()) refuse_header("__metadata__ is not an object");
    std::map<std::string, std::string, std::less<>> result;
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) refuse_header("__metadata__: the value of {} is not a string", in_quotes(key));
      result.emplace(key, value.get<std::string>());
    }
    return result;
  }

  Range range(const std::string& name, const json& entry) const {
    const std::string label = "tensor " + in_quotes(name);
    if (!entry.is_object()) refuse_header("{} is not an object", label);
    for (const auto& [key, value] : entry.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        refuse_header("{}: unknown key {}", label, in_quotes(key));
    }
    for (const char* key : {"dtype", "shape", "data_offsets"}) {
      if (!entry.contains(key)) refuse_header("{}: {} is missing", label, key);
    }
    Range result{.name = name, .type = type(label, entry["dtype"]), .shape = {}, .elements = 1, .begin = 0, .end = 0};

    if (!entry["shape"].is_array()) refuse_header("{}: shape is not a list", label);
    for (const json& extent : entry["shape"]) {
      const std::uint64_t value = number(label, "an extent", extent);
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
          __builtin_mul_overflow(result.elements, value, &result.elements)) {
        refuse_header("{}: the product of the shape overflows", label);
      }
      result.shape.push_back(static_cast<std::int64_t>(value));
    }

    const json& offsets = entry["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2) refuse_header("{}: data_offsets are not two numbers", label);
    result.begin = number(label, "an offset", offsets[0]);
    result.end = number(label, "an offset", offsets[1]);
    const std::uint64_t available = size_ - data_begin_;
    if (result.begin > result.end)
      refuse_header("{}: data_offsets [{}, {}] run backwards", label, result.begin, result.end);
    if (result.end > available) {
      refuse_header("{}: data_offsets end at {}, but the file has {} bytes of data", label, result.end, available);
    }
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(result.elements, element_size(result.type), &bytes)) {
      refuse_header("{}: the product of the shape overflows", label);
    }
    if (bytes != result.end - result.begin) {
      refuse_header("{}: dtype and shape need {} bytes, data_offsets have {}", label, bytes, result.end - result.begin);
    }
    return result;
  }

  Type type(const std::string& label, const json& dtype) const {
    if (!dtype.is_string()) refuse_header("{}: dtype is not a string", label);
    const auto& name = dtype.get_ref<const std::string&>();
    if (name == "F32") return Type::f32;
    if (name == "I64") return Type::i64;
    if (name == "I32") return Type::i32;
    if (name == "U8") return Type::u8;
    refuse_header("{}: dtype {} is not supported; F32, I64, I32 and U8 are", label, in_quotes(name));
  }

  std::uint64_t number(const std::string& label, const char* what, const json& value) const {
    if (!value.is_number_unsigned()) refuse_header("{}: {} is not a whole number of 64 bits, at least 0", label, what);
    return value.get<std::uint64_t>();
  }

  static std::uint64_t element_size(Type type) {
    switch (type) {
      case Type::f32:
        return 4;
      case Type::i64:
        return 8;
      case Type::i32:
        return 4;
      case Type::u8:
        return 1;
    }
    return 0;
  }

  void require_exact_cover() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
    std::uint64_t covered = 0;
    for (const Range& range : ranges_) {
      if (range.begin > covered) refuse(data_begin_ + covered, "{} bytes belong to no tensor", range.begin - covered);
      if (range.begin < covered) {
        refuse(data_begin_ + range.begin, "tensor {} overlaps the one before it", in_quotes(range.name));
      }
      covered = range.end;
    }
    const std::uint64_t available = size_ - data_begin_;
    if (covered < available) refuse(data_begin_ + covered, "{} bytes belong to no tensor", available - covered);
  }

  template <class T>
  SafeTensor load_as(const Range& range) const {
    std::vector<T> values(range.elements);
    if (!values.empty()) fetch_(data_begin_ + range.begin, values.data(), range.end - range.begin);
    return {range.shape, std::move(values)};
  }

  SafeTensor load(const Range& range) const {
    switch (range.type) {
      case Type::f32:
        return load_as<float>(range);
      case Type::i64:
        return load_as<std::int64_t>(range);
      case Type::i32:
        return load_as<std::int32_t>(range);
      case Type::u8:
        return load_as<std::uint8_t>(range);
    }
    return {};
  }

  std::string source_;
  std::uint64_t size_;
  Fetch fetch_;
  std::uint64_t data_begin_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    fail(ExitStatus::failed, "{}: {}; expected a safetensors file", file.string(),
         error ? error.message() : "not a regular file");
  }
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  const auto size = in.tellg();
  if (!in || size < 0) fail(ExitStatus::failed, "{}: cannot be opened for reading", file.string());
  const auto fetch = [&](std::uint64_t offset, void* to, std::uint64_t count) {
    in.seekg(static_cast<std::streamoff>(offset));
    in.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    if (!in) fail(ExitStatus::failed, "{}: offset {}: {} bytes could not be read", file.string(), offset, count);
  };
  return Reader(file.string(), static_cast<std::uint64_t>(size), fetch).read();
}

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& source) {
  const auto fetch = [&](std::uint64_t offset, void* to, std::uint64_t count) {
    if (count > 0) std::memcpy(to, bytes.data() + offset, count);
  };
  return Reader(source, bytes.size(), fetch).read();
}

const SafeTensor& SafetensorsFile::tensor(std::string_view name) const {
  if (const auto found = tensors.find(name); found != tensors.end()) return found->second;
  std::vector<std::string_view> names;
  for (const auto& [key, value] : tensors) {
    if (names.size() < 20) names.push_back(key);
  }
  fail(ExitStatus::failed, "{}: no tensor {}; there are {}: {}{}", source, in_quotes(name), tensors.size(),
       fmt::join(names, ", "), names.size() < tensors.size() ? ", ..." : "");
}

template <class T>
std::span<const T> SafetensorsFile::values(std::string_view name) const {
  const SafeTensor& found = tensor(name);
  if (const auto* values = std::get_if<std::vector<T>>(&found.values)) return *values;
  static constexpr std::array kTypes = {"F32", "I64", "I32", "U8"};  // in the order of SafeTensor::Values
  fail(ExitStatus::failed, "{}: tensor {} has dtype {}; expected {}", source, in_quotes(name),
       kTypes[found.values.index()], kTypes[SafeTensor::Values(std::vector<T>()).index()]);
}

template std::span<const float> SafetensorsFile::values(std::string_view) const;
template std::span<const std::int64_t> SafetensorsFile::values(std::string_view) const;
template std::span<const std::int32_t> SafetensorsFile::values(std::string_view) const;
template std::span<const std::uint8_t> SafetensorsFile::values(std::string_view) const;

}  // namespace dptrain
