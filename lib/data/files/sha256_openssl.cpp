// SHA-256 by OpenSSL's libcrypto, which uses what the processor has for it.

#include <openssl/evp.h>

#include <array>

#include "core/error.h"
#include "data/files/sha256.h"

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

}  // namespace dptrain
