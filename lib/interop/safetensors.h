// Purpose: reads and writes safetensors files: an 8-byte little-endian header length, a JSON header that names each
//   tensor's dtype, shape and byte range, then the bytes of all tensors. No code is ever executed on reading.
// Thread safety: files in memory are values; the functions have no state.
// Invariants: the reader accepts a file only as a whole, every byte of it accounted for. Nothing is allocated beyond a
//   small multiple of the file's size. Equal tensors and metadata give equal bytes.
// Format: https://huggingface.co/docs/safetensors
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dptrain {

/// Longer headers are neither read nor written; room for some 100,000 tensors.
inline constexpr std::uint64_t kSafetensorsHeaderLimit = 16 << 20;

/// One tensor read from a file; the alternatives are the dtypes F32, I64, I32 and U8.
struct SafeTensor {
  using Values =
      std::variant<std::vector<float>, std::vector<std::int64_t>, std::vector<std::int32_t>, std::vector<std::uint8_t>>;
  std::vector<std::int64_t> shape;  ///< rank 0 is a scalar; an extent may be 0
  Values values;                    ///< row-major; as many as the product of the shape
};

struct SafetensorsFile {
  std::map<std::string, SafeTensor, std::less<>> tensors;  ///< by name
  std::map<std::string, std::string, std::less<>> metadata;
  std::string source;  ///< where it came from, for messages

  bool contains(std::string_view name) const { return tensors.contains(name); }
  /// Throws Error(ExitStatus::failed) that lists the names there are.
  const SafeTensor& tensor(std::string_view name) const;
  /// The values of a tensor of that type, valid as long as the file; throws likewise where it is of another.
  template <class T>
  std::span<const T> values(std::string_view name) const;
  std::span<const float> floats(std::string_view name) const { return values<float>(name); }
};

/// Reads a whole file. Throws Error(ExitStatus::failed), naming file and byte offset, unless all of it is valid: the
/// header within bounds, JSON without duplicate or unknown keys, known dtypes, byte ranges that agree with shape and
/// dtype and cover the data exactly, without holes, overlaps or a rest.
SafetensorsFile read_safetensors(const std::filesystem::path& file);

/// The same from bytes in memory; `source` stands for the file in messages.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, const std::string& source);

/// One tensor to be written; the caller owns the values.
struct SafeTensorView {
  using Values = std::variant<std::span<const float>, std::span<const std::int64_t>, std::span<const std::int32_t>,
                              std::span<const std::uint8_t>>;
  std::string name;  ///< any UTF-8 but "__metadata__"; distinct
  std::vector<std::int64_t> shape;
  Values values;
};

/// Writes the tensors by size of their elements, larger first, and by name, so that every tensor is aligned and the
/// order of `tensors` does not matter. Throws Error(ExitStatus::failed) where the stream fails.
void write_safetensors(std::ostream& out, std::vector<SafeTensorView> tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata = {});

/// The same to a file, replacing it; not atomic (publishing is the checkpoint's business).
void write_safetensors(const std::filesystem::path& file, std::vector<SafeTensorView> tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata = {});

}  // namespace dptrain
