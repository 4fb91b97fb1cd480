// Purpose: XXH3-128 (xxHash by Y. Collet) as a streaming hash; the project's one content hash.
// Thread safety: one user at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace dptrain {

class Hash128 {
 public:
  Hash128();
  ~Hash128();
  void update(const void* bytes, std::size_t count);
  /// 32 hexadecimal digits, high half first; the hash may go on being updated.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dptrain
