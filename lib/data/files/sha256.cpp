#include "data/files/sha256.h"

#include <algorithm>
#include <vector>

#include "data/formats/byte_source.h"
#include "data/formats/input_file.h"

namespace dptrain {

FileDigest digest_file(const std::filesystem::path& path, std::int64_t most, const StopRequest* stop) {
  const auto source = open_bytes(path, stop);
  Sha256 hash;
  std::vector<std::uint8_t> window(1 << 18);
  while (source->offset() <= most) {
    const std::int64_t wanted =
        std::min<std::int64_t>(static_cast<std::int64_t>(window.size()), most + 1 - source->offset());
    const std::size_t got = source->read(window.data(), static_cast<std::size_t>(wanted));
    hash.update(window.data(), got);
    if (got < static_cast<std::size_t>(wanted)) break;
  }
  return {source->offset(), hash.hex()};
}

FileDigest digest_as_it_is(const std::filesystem::path& path, std::int64_t most, const StopRequest* stop) {
  InputFile file(path);
  if (file.size() > most) return {file.size(), ""};
  Sha256 hash;
  std::vector<std::uint8_t> window(1 << 18);
  while (const std::size_t got = file.read(window.data(), window.size())) {
    throw_if_stopped(stop);
    hash.update(window.data(), got);
  }
  return {file.size(), hash.hex()};
}

}  // namespace dptrain
