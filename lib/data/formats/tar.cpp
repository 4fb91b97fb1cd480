#include "data/formats/tar.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "data/images/image_files.h"

namespace dptrain {
namespace {

constexpr std::int64_t kBlock = 512;
constexpr std::int64_t kMostNameBytes = 1 << 16, kMostPaxBytes = 1 << 20;
using Block = std::array<std::uint8_t, kBlock>;

/// A text field, which ends at its first zero byte or at its full length.
std::string text_of(const Block& block, std::size_t at, std::size_t length) {
  const auto* begin = reinterpret_cast<const char*>(block.data()) + at;
  return {begin, ::strnlen(begin, length)};
}

/// Octal digits, or where the first bit is set a big-endian number; -1 where it is neither, or too large.
std::int64_t number_of(const Block& block, std::size_t at, std::size_t length) {
  std::int64_t value = 0;
  if ((block[at] & 0x80) != 0) {
    if (block[at] != 0x80) return -1;
    for (std::size_t k = 1; k < length; ++k) {
      if (value > std::numeric_limits<std::int64_t>::max() >> 9) return -1;
      value = value << 8 | block[at + k];
    }
    return value;
  }
  std::size_t k = at;
  const std::size_t end = at + length;
  while (k < end && block[k] == ' ') ++k;
  for (; k < end && block[k] != 0 && block[k] != ' '; ++k) {
    if (block[k] < '0' || block[k] > '7') return -1;
    value = value << 3 | (block[k] - '0');
  }
  return value;
}

bool checksum_fits(const Block& block) {
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < block.size(); ++k) sum += k >= 148 && k < 156 ? ' ' : block[k];
  return number_of(block, 148, 8) == sum;
}

/// Reads the headers one after the other.
class Indexer {
 public:
  Indexer(const std::filesystem::path& path, const InputFile& file, const TarFile::Skip& skip, const StopRequest* stop)
      : path_(path), file_(file), skip_(skip), stop_(stop) {}

  std::vector<TarMember> index() {
    std::vector<TarMember> members;
    Block block;
    for (;;) {
      throw_if_stopped(stop_);
      if (file_.read_at(at_, block.data(), block.size()) < block.size()) {
        corrupt("the file ends here without a tar's end marker; it is truncated");
      }
      if (std::all_of(block.begin(), block.end(), [](std::uint8_t byte) { return byte == 0; })) break;
      if (!checksum_fits(block)) corrupt("this is not the header of a tar's member: its checksum does not fit");
      entry(block, members);
    }
    // The last of one name is the one that counts.
    std::stable_sort(members.begin(), members.end(),
                     [](const TarMember& a, const TarMember& b) { return a.name < b.name; });
    const auto first = std::unique(members.rbegin(), members.rend(),
                                   [](const TarMember& a, const TarMember& b) { return a.name == b.name; });
    members.erase(members.begin(), first.base());
    members.shrink_to_fit();
    return members;
  }

 private:
  [[noreturn]] void corrupt(const std::string& message) const {
    fail(ExitStatus::data, "{}: byte {}: {}", path_.string(), at_, message);
  }

  void entry(const Block& block, std::vector<TarMember>& members) {
    const auto type = static_cast<char>(block[156]);
    std::int64_t bytes = number_of(block, 124, 12);
    if (bytes >= 0 && pax_bytes_ >= 0 && type != 'x' && type != 'g' && type != 'L' && type != 'K') bytes = pax_bytes_;
    std::string name = name_of(block);
    const bool is_regular = type == '0' || type == '\0' || type == '7';
    const bool has_data = is_regular || type == 'S' || std::strchr("123456", type) == nullptr;
    const std::int64_t data = at_ + kBlock + (type == 'S' ? more_of_sparse_map(block) : 0), left = file_.size() - data;
    if (bytes < 0 || (has_data && bytes > left)) {
      corrupt(fmt::format("member '{}' claims {} bytes, and the file has {} left", shown(name),
                          bytes < 0 ? "impossibly many" : std::to_string(bytes), left));
    }
    if (type == 'L' || type == 'x') {
      read_extension(type, data, bytes);
    } else if (type != 'K' && type != 'g') {
      member(type, is_regular, std::move(name), data, bytes, members);
      long_name_.clear();
      pax_bytes_ = -1;
      is_sparse_ = false;
    }
    at_ = data + (has_data ? (bytes + kBlock - 1) / kBlock * kBlock : 0);
  }

  /// GNU's old sparse files: the bytes of the blocks behind the header that say on where the file's holes are.
  std::int64_t more_of_sparse_map(const Block& header) const {
    constexpr std::size_t kMoreInHeader = 482, kMoreInBlock = 504;
    std::int64_t bytes = 0;
    Block next;
    for (bool more = header[kMoreInHeader] != 0; more; more = next[kMoreInBlock] != 0) {
      throw_if_stopped(stop_);
      if (file_.read_at(at_ + kBlock + bytes, next.data(), next.size()) < next.size())
        corrupt("the file ends inside of a header");
      bytes += kBlock;
    }
    return bytes;
  }

  std::string name_of(const Block& block) const {
    if (!long_name_.empty()) return long_name_;
    std::string name = text_of(block, 0, 100);
    if (std::memcmp(block.data() + 257, "ustar\0", 6) != 0) return name;
    const std::string prefix = text_of(block, 345, 155);
    return prefix.empty() ? name : fmt::format("{}/{}", prefix, name);
  }

  void member(char type, bool is_regular, std::string name, std::int64_t data, std::int64_t bytes,
              std::vector<TarMember>& members) {
    while (name.starts_with("./")) name.erase(0, 2);
    if (name.starts_with('/') || fmt::format("/{}/", name).find("/../") != std::string::npos) {
      corrupt(
          fmt::format("member '{}' would lie outside of the archive's folder; the archive is refused", shown(name)));
    }
    if (type == '5' || name.empty() || name.ends_with('/')) return;  // a folder
    if (is_regular && !is_sparse_) {
      members.push_back({std::move(name), data, bytes});
      return;
    }
    const char* what = type == '1'                 ? "a hard link"
                       : type == '2'               ? "a symbolic link"
                       : type == 'S' || is_sparse_ ? "a sparse file"
                                                   : "a device, a pipe or of an unknown kind";
    const std::string line = fmt::format("member '{}' is {}; only regular files are read", shown(name), what);
    if (!skip_) corrupt(fmt::format("{} (on_bad_sample: skip leaves it out)", line));
    skip_(fmt::format("{}: byte {}: {}; it is left out", path_.string(), at_, line));
  }

  /// GNU's long name, or pax records "LENGTH KEY=VALUE\n".
  void read_extension(char type, std::int64_t data, std::int64_t bytes) {
    if (bytes > (type == 'L' ? kMostNameBytes : kMostPaxBytes)) {
      corrupt(fmt::format("a header of {} bytes is refused", bytes));
    }
    std::string text(static_cast<std::size_t>(bytes), '\0');
    if (file_.read_at(data, reinterpret_cast<std::uint8_t*>(text.data()), text.size()) < text.size()) {
      corrupt("the file ends inside of a header");
    }
    if (type == 'L') {
      long_name_ = text.c_str();
      return;
    }
    for (std::string_view rest = text; !rest.empty();) {
      std::size_t length = 0, k = 0;
      for (; k < rest.size() && k < 8 && rest[k] >= '0' && rest[k] <= '9'; ++k)
        length = length * 10 + static_cast<std::size_t>(rest[k] - '0');
      const bool good = k > 0 && k < rest.size() && rest[k] == ' ' && length > k + 2 && length <= rest.size() &&
                        rest[length - 1] == '\n';
      if (!good) corrupt("a pax header that is not one");
      const std::string_view record = rest.substr(k + 1, length - k - 2);
      if (record.starts_with("path=")) {
        long_name_ = record.substr(5);
        if (long_name_.find('\0') != std::string::npos) corrupt("a member's name has a zero byte in it");
      } else if (record.starts_with("size=")) {
        pax_bytes_ = decimal(record.substr(5));
      } else if (record.starts_with("GNU.sparse.")) {
        is_sparse_ = true;
        if (record.starts_with("GNU.sparse.name=")) long_name_ = record.substr(16);
      }
      rest.remove_prefix(length);
    }
  }

  std::int64_t decimal(std::string_view digits) const {
    std::int64_t value = 0;
    if (digits.empty() || digits.size() > 18) corrupt("a pax header with a size that is not one");
    for (const char c : digits) {
      if (c < '0' || c > '9') corrupt("a pax header with a size that is not one");
      value = value * 10 + (c - '0');
    }
    return value;
  }

  const std::filesystem::path& path_;
  const InputFile& file_;
  const TarFile::Skip& skip_;
  const StopRequest* stop_;
  std::int64_t at_ = 0;          // of the header at hand
  std::string long_name_;        // for the next member
  std::int64_t pax_bytes_ = -1;  // likewise
  bool is_sparse_ = false;       // likewise
};

}  // namespace

TarFile::TarFile(const std::filesystem::path& path, const Skip& skip, const StopRequest* stop)
    : path_(path), file_(path), members_(Indexer(path_, file_, skip, stop).index()) {}

void TarFile::read(const TarMember& member, std::uint8_t* out) const {
  const auto bytes = static_cast<std::size_t>(member.bytes);
  if (file_.read_at(member.offset, out, bytes) < bytes) {
    fail(ExitStatus::data, "{}: member '{}': the archive ends inside of it; has it been changed while it was read?",
         path_.string(), shown(member.name));
  }
}

bool is_plain_tar(const std::filesystem::path& path) {
  const InputFile file(path);
  Block block;
  return file.read_at(0, block.data(), block.size()) == block.size() && checksum_fits(block);
}

}  // namespace dptrain
