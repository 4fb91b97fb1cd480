// Purpose: a plain tar: its members are found once, from their headers alone, and then read in any order. POSIX (ustar,
//   pax) and GNU (long names, large sizes) headers. Nothing is ever written: members have names and no paths on this
//   machine.
// Thread safety: read() from any number of threads at once. Invariants: every member lies within the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/stop.h"
#include "data/formats/input_file.h"

namespace dptrain {

struct TarMember {
  std::string name;  ///< without a leading "./"
  std::int64_t offset = 0, bytes = 0;
};

class TarFile {
 public:
  /// Called with a line for each member that is left out because it is no regular file.
  using Skip = std::function<void(const std::string&)>;

  /// Reads the headers. Errors (data), with the member and the byte at which its header begins: not a tar, a checksum
  /// that does not fit, a member that claims more bytes than the file has left, no end marker (the file is truncated),
  /// a name that is absolute or has "..", a link, device or sparse file (unless `skip`). Stopped.
  explicit TarFile(const std::filesystem::path& path, const Skip& skip = {}, const StopRequest* stop = nullptr);

  const std::filesystem::path& path() const { return path_; }
  /// Regular files, by name; of members with the same name the last, as tar unpacks them.
  const std::vector<TarMember>& members() const { return members_; }
  /// Errors (data): reading fails.
  void read(const TarMember& member, std::uint8_t* out) const;

 private:
  std::filesystem::path path_;
  InputFile file_;
  std::vector<TarMember> members_;
};

/// Whether a file begins as a tar does. Errors (data): it cannot be read.
bool is_plain_tar(const std::filesystem::path& path);

}  // namespace dptrain
