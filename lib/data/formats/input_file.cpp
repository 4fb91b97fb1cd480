#include "data/formats/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace dptrain {

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: opening a named pipe returns at once and is then refused below.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail(ExitStatus::data, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  struct stat status = {};
  std::string problem;
  if (::fstat(descriptor_, &status) != 0) {
    problem = std::strerror(errno);
  } else if (S_ISDIR(status.st_mode)) {
    problem = "is a folder; expected a file";
  } else if (!S_ISREG(status.st_mode)) {
    problem = "is not a regular file";
  }
  if (!problem.empty()) {
    ::close(descriptor_);
    fail(ExitStatus::data, "{}: {}", path.string(), problem);
  }
  size_ = status.st_size;
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

std::size_t InputFile::read(std::uint8_t* out, std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got = ::read(descriptor_, out + done, std::min<std::size_t>(count - done, 1u << 30));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ExitStatus::data, "{}: reading failed: {}", path_.string(), std::strerror(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::size_t InputFile::read_at(std::int64_t offset, std::uint8_t* out, std::size_t count) const {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got = ::pread(descriptor_, out + done, std::min<std::size_t>(count - done, 1u << 30),
                                offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(ExitStatus::data, "{}: reading failed: {}", path_.string(), std::strerror(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

bool InputFile::starts_as_gzip() const {
  constexpr std::array<std::uint8_t, 2> kGzipMagic = {0x1f, 0x8b};
  std::array<std::uint8_t, 2> start = {};
  const ssize_t got = ::pread(descriptor_, start.data(), start.size(), 0);
  return got == 2 && start == kGzipMagic;
}

}  // namespace dptrain
