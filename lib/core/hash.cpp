#include "core/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace dptrain {

struct Hash128::State {
  State() : value(XXH3_createState()) {}
  ~State() { XXH3_freeState(value); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  XXH3_state_t* value;
};

Hash128::Hash128() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(state_->value);
}
Hash128::~Hash128() = default;

void Hash128::update(const void* bytes, std::size_t count) {
  XXH3_128bits_update(state_->value, bytes, count);
}

std::string Hash128::hex() const {
  const XXH128_hash_t digest = XXH3_128bits_digest(state_->value);
  return fmt::format("{:016x}{:016x}", digest.high64, digest.low64);
}

}  // namespace dptrain
