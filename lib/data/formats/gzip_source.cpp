#include "data/formats/gzip_source.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "data/formats/input_file.h"

namespace dptrain {
namespace {

constexpr std::uint8_t kGzipStart = 0x1f;

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

  /// A gzip file is one or more members, one after the other, and zeros at most behind them, which tapes are filled
  /// with.
  void next_member() {
    refill();
    const bool is_filled = stream_.avail_in > 0 && stream_.next_in[0] == 0;
    while (is_filled && stream_.avail_in > 0 && stream_.next_in[0] == 0) {
      ++stream_.next_in;
      --stream_.avail_in;
      refill();
    }
    if (stream_.avail_in == 0) {
      finished_ = true;
      return;
    }
    if (is_filled || stream_.next_in[0] != kGzipStart) {
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

std::unique_ptr<ByteSource> open_gzip(const std::filesystem::path& path, const StopRequest* stop) {
  return std::make_unique<GzipSource>(path, stop);
}

}  // namespace dptrain
