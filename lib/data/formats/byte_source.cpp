#include "data/formats/byte_source.h"

#include <algorithm>

#include "data/formats/gzip_source.h"
#include "data/formats/input_file.h"

namespace dptrain {
namespace {

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
  if (path.extension() == ".gz") return open_gzip(path, stop);
  return std::make_unique<PlainSource>(path, stop);
}

}  // namespace dptrain
