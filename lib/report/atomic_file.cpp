#include "report/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace dptrain {

namespace {

[[noreturn]] void cannot_write(const std::filesystem::path& path) {
  const int reason = errno;
  fail(ExitStatus::failed, "cannot write {}: {}", path.string(), std::strerror(reason));
}

/// Closes a descriptor and, unless told that the file was published, removes the file.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::filesystem::path path)
      : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {}
  ~TemporaryFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    if (!published_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int descriptor() const { return descriptor_; }
  bool publish(const std::filesystem::path& target) {
    published_ = ::rename(path_.c_str(), target.c_str()) == 0;
    return published_;
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
  bool published_ = false;
};

}  // namespace

void write_all(int descriptor, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) cannot_write(path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  static std::atomic<int> counter{0};
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const std::string name = fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), counter++);
  TemporaryFile temporary(folder / name);
  if (temporary.descriptor() < 0) cannot_write(path);
  write_all(temporary.descriptor(), text, path);
  if (::fsync(temporary.descriptor()) != 0 || !temporary.publish(path)) cannot_write(path);

  // The rename is on the disk once the folder is; some file systems cannot sync a folder, and then that is as good as it gets.
  const int parent = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) return;
  const bool synced = ::fsync(parent) == 0 || errno == EINVAL || errno == ENOTSUP;
  const int reason = errno;
  ::close(parent);
  if (!synced) {
    errno = reason;
    cannot_write(path);
  }
}

}  // namespace dptrain
