// Purpose: reads the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, test_batch.bin; a record is a
//   label and 3 x 32 x 32 bytes) and CIFAR-100 (train.bin, test.bin; a coarse label, a fine one, the bytes). The fine
//   label is the one used.
// Thread safety: pure functions.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/stop.h"
#include "data/byte_block.h"

namespace dptrain {

inline constexpr std::int64_t kCifarPixels = 3 * 32 * 32;

/// The files of one of the two, in order.
struct CifarFiles {
  std::int64_t classes = 0;  ///< 10 or 100
  std::string folder;        ///< that its archive has them in
  std::vector<std::string> train, test;
  std::int64_t record_bytes() const { return kCifarPixels + (classes == 100 ? 2 : 1); }
};
const CifarFiles& cifar_files(std::int64_t classes);

/// The folder that has the files of CIFAR-`classes`: `folder` itself, or the one that its archive makes there.
std::optional<std::filesystem::path> find_cifar(const std::filesystem::path& folder, std::int64_t classes);
/// Where find_cifar() finds nothing for either but some of the files of one of the two are there: which folder lacks
/// which. Otherwise empty.
std::string lacking_of_cifar(const std::filesystem::path& folder);

struct CifarSplit {
  ByteBlock pixels;  ///< (samples, 3, 32, 32)
  ByteBlock labels;  ///< (samples)
  std::int64_t samples = 0;
};

/// One file's bytes, wherever they are.
struct CifarPart {
  std::string name;  ///< for messages
  std::int64_t bytes = 0;
  std::function<void(std::uint8_t*)> read;  ///< all of them
};

/// The records of all parts. Errors (data), with the file: a size that is no number of records.
std::int64_t count_records(const CifarFiles& files, const std::vector<CifarPart>& parts);
/// Errors (data), with file and byte: as count_records(); a label out of range. Stopped.
CifarSplit read_cifar(const CifarFiles& files, const std::vector<CifarPart>& parts, const StopRequest* stop);
/// The parts of a folder. Errors (data): a file is missing or unreadable.
std::vector<CifarPart> cifar_parts(const std::filesystem::path& folder, const std::vector<std::string>& names);

}  // namespace dptrain
