#include "data/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "data/formats/byte_source.h"

namespace dptrain {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    fail(ExitStatus::failed, "libcrypto offers no SHA-256");
  }
}

Sha256::~Sha256() = default;

void Sha256::update(const void* bytes, std::size_t count) {
  DPTRAIN_CHECK(EVP_DigestUpdate(state_->context, bytes, count) == 1, "SHA-256 failed");
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned int size = 0;
  DPTRAIN_CHECK(EVP_DigestFinal_ex(state_->context, digest.data(), &size) == 1, "SHA-256 failed");
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

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
