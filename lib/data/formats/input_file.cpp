#include "data/formats/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// Whether an open() that failed so says something of the file, which is the same whoever tries and when.
bool is_of_the_file(int error) {
  constexpr std::array kOfTheFile{ENOENT, ENOTDIR, ELOOP, EACCES, EPERM, ENAMETOOLONG, ENXIO, ENODEV};
  return std::find(kOfTheFile.begin(), kOfTheFile.end(), error) != kOfTheFile.end();
}

}  // namespace

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

void require_folder(const fs::path& folder, const std::string& what) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (fs::is_directory(status)) return;
  if (status.type() == fs::file_type::not_found)
    fail(ExitStatus::data, "{}: no such folder; expected one with {}", folder.string(), what);
  if (error) fail(ExitStatus::data, "{}: cannot be looked at: {}", folder.string(), error.message());
  fail(ExitStatus::data, "{}: not a folder; expected one with {}", folder.string(), what);
}

InputFile::InputFile(const fs::path& path, std::string name) : name_(name.empty() ? path.string() : std::move(name)) {
  // O_NONBLOCK: opening a named pipe returns at once and is then refused below.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    const std::string message = fmt::format("{}: cannot be opened: {}", name_, std::strerror(error));
    if (!is_of_the_file(error)) throw ReadFailed(message);
    throw Error(ExitStatus::data, message);
  }
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
    fail(ExitStatus::data, "{}: {}", name_, problem);
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
    if (got < 0) fail_reading();
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
    if (got < 0) fail_reading();
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void InputFile::fail_reading() const {
  throw ReadFailed(fmt::format("{}: reading failed: {}", name_, std::strerror(errno)));
}

bool InputFile::starts_as_gzip() const {
  constexpr std::array<std::uint8_t, 2> kGzipMagic = {0x1f, 0x8b};
  std::array<std::uint8_t, 2> start = {};
  const ssize_t got = ::pread(descriptor_, start.data(), start.size(), 0);
  return got == 2 && start == kGzipMagic;
}

}  // namespace dptrain
