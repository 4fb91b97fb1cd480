#include "data/formats/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <vector>

namespace dptrain {
namespace {

constexpr std::array<std::uint8_t, 2> kGzipMagic = {0x1f, 0x8b};

/// An open regular file.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path) : path_(path) {
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
  ~InputFile() { ::close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::int64_t size() const { return size_; }

  /// Fewer than `count` only at the end of the file.
  std::size_t read(std::uint8_t* out, std::size_t count) {
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

  bool starts_as_gzip() {
    std::array<std::uint8_t, 2> start = {};
    const ssize_t got = ::pread(descriptor_, start.data(), start.size(), 0);
    return got == 2 && start == kGzipMagic;
  }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

class PlainSource final : public ByteSource {
 public:
  PlainSource(const std::filesystem::path& path, const StopRequest* stop) : ByteSource(path, stop), file_(path) {
    if (file_.starts_as_gzip()) {
      fail(ExitStatus::data, "{}: byte 0: the file is gzipped but its name does not say so; rename it to {}.gz",
           path.string(), path.filename().string());
    }
  }
  std::int64_t capacity() const override { return file_.size(); }
  bool compressed() const override { return false; }

 protected:
  std::size_t read_some(std::uint8_t* out, std::size_t count) override { return file_.read(out, count); }

 private:
  InputFile file_;
};

class GzipSource final : public ByteSource {
 public:
  GzipSource(const std::filesystem::path& path, const StopRequest* stop)
      : ByteSource(path, stop), file_(path), window_(1 << 16) {
    if (!file_.starts_as_gzip()) {
      fail(ExitStatus::data, "{}: byte 0: expected a gzip file (1f 8b), as its name says", path.string());
    }
    if (::inflateInit2(&stream_, 15 + 16) != Z_OK) fail(ExitStatus::failed, "zlib cannot start: {}", zlib_says());
  }
  ~GzipSource() override { ::inflateEnd(&stream_); }

  std::int64_t capacity() const override {
    constexpr std::int64_t most = 1032;  // deflate's best ratio: 258 bytes in two bits
    std::int64_t bytes = 0;
    return __builtin_mul_overflow(file_.size(), most, &bytes) ? std::numeric_limits<std::int64_t>::max() : bytes;
  }
  bool compressed() const override { return true; }

 protected:
  std::size_t read_some(std::uint8_t* out, std::size_t count) override {
    std::size_t done = 0;
    while (done < count && !finished_) {
      const std::size_t room = std::min<std::size_t>(count - done, 1u << 30);
      stream_.next_out = out + done;
      stream_.avail_out = static_cast<uInt>(room);
      step();
      done += room - stream_.avail_out;
    }
    return done;
  }

 private:
  /// Inflates into what is set in stream_: at least one byte of progress, or the end of a member.
  void step() {
    refill();
    if (stream_.avail_in == 0) {
      fail(ExitStatus::data, "{}: byte {} (compressed): the gzip data end too early; the file is truncated",
           path().string(), consumed_);
    }
    const int code = ::inflate(&stream_, Z_NO_FLUSH);
    if (code == Z_STREAM_END) {
      next_member();
    } else if (code == Z_MEM_ERROR) {
      fail(ExitStatus::failed, "{}: out of memory while inflating", path().string());
    } else if (code != Z_OK) {
      fail(ExitStatus::data, "{}: byte {} (compressed): corrupt gzip data: {}", path().string(), position(),
           zlib_says());
    }
  }

  /// A gzip file is one or more members, one after the other, and nothing else.
  void next_member() {
    refill();
    if (stream_.avail_in == 0) {
      finished_ = true;
      return;
    }
    if (stream_.next_in[0] != kGzipMagic[0]) {
      fail(ExitStatus::data, "{}: byte {} (compressed): expected the end of the file after the gzip data",
           path().string(), position());
    }
    ::inflateReset(&stream_);
  }

  void refill() {
    if (stream_.avail_in > 0) return;
    stream_.next_in = window_.data();
    stream_.avail_in = static_cast<uInt>(file_.read(window_.data(), window_.size()));
    consumed_ += stream_.avail_in;
  }

  std::int64_t position() const { return consumed_ - stream_.avail_in; }
  const char* zlib_says() const { return stream_.msg != nullptr ? stream_.msg : "it does not say why"; }

  InputFile file_;
  std::vector<std::uint8_t> window_;
  z_stream stream_ = {};
  std::int64_t consumed_ = 0;
  bool finished_ = false;
};

}  // namespace

std::size_t ByteSource::read(std::uint8_t* out, std::size_t count) {
  std::size_t done = 0;
  if (peeked_ && count > 0) {
    out[done++] = peek_;
    peeked_ = false;
  }
  while (done < count) {
    throw_if_stopped(stop_);
    constexpr std::size_t kBetweenPolls = 1 << 22;
    const std::size_t wanted = std::min(count - done, kBetweenPolls);
    const std::size_t got = read_some(out + done, wanted);
    done += got;
    if (got < wanted) break;
  }
  offset_ += static_cast<std::int64_t>(done);
  return done;
}

bool ByteSource::at_end() {
  if (!peeked_) peeked_ = read_some(&peek_, 1) == 1;
  return !peeked_;
}

void ByteSource::corrupt(std::int64_t offset, const std::string& message) const {
  fail(ExitStatus::data, "{}: byte {}{}: {}", path_.string(), offset, compressed() ? " (uncompressed)" : "", message);
}

std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path, const StopRequest* stop) {
  if (path.extension() == ".gz") return std::make_unique<GzipSource>(path, stop);
  return std::make_unique<PlainSource>(path, stop);
}

}  // namespace dptrain
