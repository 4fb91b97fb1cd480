#include "data/sha256.h"

#include <algorithm>
#include <vector>

#include "data/formats/byte_source.h"

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

}  // namespace dptrain
