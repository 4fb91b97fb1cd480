#include "train/checkpoint/checked_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <streambuf>

#include "core/durable_file.h"
#include "core/error.h"
#include "core/hash.h"

namespace dptrain {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

constexpr const char* kManifest = "manifest.json";

[[noreturn]] void damaged(const fs::path& file, const std::string& what) {
  fail(ExitStatus::failed, "{}: {}", file.string(), what);
}

std::string hash_of(std::string_view bytes) {
  Hash128 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

/// Takes bytes to a file and hashes them on the way. Small pieces are gathered, large ones go straight through.
class HashingFile : public std::streambuf {
 public:
  explicit HashingFile(fs::path path)
      : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) cannot_write();
    setp(gathered_, gathered_ + sizeof gathered_);
  }
  ~HashingFile() override { ::close(descriptor_); }

  /// Everything is on the disk.
  void finish() {
    flush();
    if (::fsync(descriptor_) != 0) cannot_write();
  }
  std::uint64_t bytes() const { return bytes_; }
  std::string hash() const { return hash_.hex(); }

 protected:
  int_type overflow(int_type c) override {
    flush();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }
  std::streamsize xsputn(const char* text, std::streamsize count) override {
    if (count <= epptr() - pptr()) {
      std::memcpy(pptr(), text, static_cast<std::size_t>(count));
      pbump(static_cast<int>(count));
    } else {
      flush();
      put({text, static_cast<std::size_t>(count)});
    }
    return count;
  }
  int sync() override {
    flush();
    return 0;
  }

 private:
  [[noreturn]] void cannot_write() const {
    const int reason = errno;
    fail(ExitStatus::failed, "cannot write {}: {}", path_.string(), std::strerror(reason));
  }
  void flush() {
    put({pbase(), static_cast<std::size_t>(pptr() - pbase())});
    setp(gathered_, gathered_ + sizeof gathered_);
  }
  void put(std::string_view piece) {
    constexpr std::size_t kInCache = 256 << 10;  // hashed while the system's copy of it is still warm
    for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), kInCache))) {
      const std::string_view part = piece.substr(0, kInCache);
      hash_.update(part.data(), part.size());
      write_all(descriptor_, part, path_);
      bytes_ += part.size();
    }
  }

  fs::path path_;
  int descriptor_;
  Hash128 hash_;
  std::uint64_t bytes_ = 0;
  char gathered_[4096];
};

/// All of a file; where `expected` is given, only if it is of that length.
std::string read_whole(const fs::path& file, const std::uint64_t* expected = nullptr) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) damaged(file, errno == ENOENT ? "is missing" : std::strerror(errno));
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }
  } closer{descriptor};
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) damaged(file, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) damaged(file, "is no file");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (expected != nullptr && size != *expected)
    damaged(file, fmt::format("has {} bytes instead of {}", size, *expected));
  std::string bytes(size, '\0');
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::read(descriptor, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) damaged(file, fmt::format("cannot be read: {}", std::strerror(errno)));
    if (count == 0) damaged(file, "became shorter while it was read");
    done += static_cast<std::size_t>(count);
  }
  return bytes;
}

}  // namespace

FolderWriter::FolderWriter(fs::path folder) : folder_(std::move(folder)) {
  std::error_code error;
  fs::remove_all(folder_, error);
  if (!error) fs::create_directories(folder_, error);
  if (error) fail(ExitStatus::failed, "cannot create {}: {}", folder_.string(), error.message());
}

void FolderWriter::write(const std::string& name, const std::function<void(std::ostream&)>& fill) {
  HashingFile file(folder_ / name);
  std::ostream out(&file);
  out.exceptions(std::ios::badbit);  // what the file throws comes through, with the system's reason
  fill(out);
  file.finish();
  files_[name] = {file.bytes(), file.hash()};
}

void FolderWriter::link(const fs::path& from, const std::string& name, const CheckedFile& file) {
  std::error_code error;
  fs::create_hard_link(from / name, folder_ / name, error);
  if (error) fail(ExitStatus::failed, "cannot link {}: {}", (folder_ / name).string(), error.message());
  files_[name] = file;
}

void FolderWriter::seal() {
  Json files = Json::object();
  for (const auto& [name, entry] : files_) files[name] = {{"bytes", entry.bytes}, {"xxh3_128", entry.hash}};
  const std::string text = Json{{"files", files}, {"hash", hash_of(files.dump())}}.dump(2) + "\n";
  HashingFile file(folder_ / kManifest);
  file.sputn(text.data(), static_cast<std::streamsize>(text.size()));
  file.finish();
  sync_to_disk(folder_);
}

FolderReader::FolderReader(fs::path folder) : folder_(std::move(folder)) {
  const fs::path file = folder_ / kManifest;
  const std::string text = read_whole(file);
  try {
    const Json manifest = Json::parse(text);
    if (text != manifest.dump(2) + "\n") damaged(file, "is not as it was written");  // white space changed, say
    const Json& files = manifest.at("files");
    if (manifest.at("hash") != hash_of(files.dump())) damaged(file, "does not have the hash that it names");
    for (const auto& [name, entry] : files.items())
      files_[name] = {entry.at("bytes").get<std::uint64_t>(), entry.at("xxh3_128").get<std::string>()};
  } catch (const Json::exception& error) {
    damaged(file, fmt::format("is no manifest: {}", error.what()));
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.')) continue;  // a network file system's own, for a file that was removed while open
    if (name != kManifest && !files_.contains(name)) damaged(entry.path(), "is not in the manifest");
  }
  if (error) damaged(folder_, error.message());
}

std::string FolderReader::read(const std::string& name) const {
  const fs::path file = folder_ / name;
  const auto entry = files_.find(name);
  if (entry == files_.end()) damaged(folder_ / kManifest, fmt::format("does not name {}", name));
  std::string bytes = read_whole(file, &entry->second.bytes);
  if (hash_of(bytes) != entry->second.hash) damaged(file, "its bytes are not those that were written");
  return bytes;
}

}  // namespace dptrain
