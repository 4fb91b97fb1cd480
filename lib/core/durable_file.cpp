#include "core/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace dptrain {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void cannot_write(const fs::path& path, ExitStatus status) {
  const int reason = errno;
  fail(status, "cannot write {}: {}", path.string(), std::strerror(reason));
}

}  // namespace

void write_all(int descriptor, std::string_view bytes, const fs::path& path, ExitStatus status) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) cannot_write(path, status);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync_to_disk(const fs::path& path, ExitStatus status) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  // Some file systems cannot sync a folder, and then what was done is as good as it gets.
  const bool synced = descriptor >= 0 && (::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP);
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  errno = reason;
  if (!synced) cannot_write(path, status);
}

void publish(const fs::path& temporary, const fs::path& target, ExitStatus status) {
  if (::rename(temporary.c_str(), target.c_str()) != 0) cannot_write(target, status);
  sync_to_disk(target.has_parent_path() ? target.parent_path() : ".", status);
}

StagedFile::StagedFile(fs::path target, ExitStatus status)
    : target_(std::move(target)),
      staged_(target_.parent_path() / fmt::format(".{}.new", target_.filename().string())),
      status_(status),
      descriptor_(::open(staged_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) cannot_write(target_, status_);
}

StagedFile::~StagedFile() {
  if (descriptor_ < 0) return;  // published
  ::close(descriptor_);
  ::unlink(staged_.c_str());
}

void StagedFile::write(std::string_view bytes) {
  write_all(descriptor_, bytes, target_, status_);
}

void StagedFile::publish() {
  if (::fsync(descriptor_) != 0) cannot_write(target_, status_);
  dptrain::publish(staged_, target_, status_);
  ::close(std::exchange(descriptor_, -1));
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  StagedFile file(path);
  file.write(text);
  file.publish();
}

}  // namespace dptrain
