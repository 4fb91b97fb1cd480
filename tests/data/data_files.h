// What the tests of lib/data share: environment variables that are put back, small data files.
#pragma once

#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "data/files/sha256.h"
#include "support/files.h"

namespace dptrain::test {

/// Sets (or with no value unsets) a variable until the end of the scope.
class Environment {
 public:
  Environment(const char* name, std::optional<std::string> value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const std::optional<std::string>& value) const {
    if (value) {
      ::setenv(name_, value->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  const char* name_;
  std::optional<std::string> old_;
};

inline void put(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string gzip(const std::string& bytes) {
  z_stream stream = {};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// An IDX file; `body` is taken as it is.
inline std::string idx(std::initializer_list<std::uint32_t> extents, const std::string& body, char type = 8) {
  std::string out = {0, 0, type, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(extent >> shift);
  }
  return out + body;
}

/// Three training and two test images of 2 x 2, with labels 1 0 1 and 0 1.
struct TinyFiles {
  std::string train_images = idx({3, 2, 2}, std::string("\x00\x01\x02\x03\x10\x11\x12\x13\x80\xfd\xfe\xff", 12));
  std::string train_labels = idx({3}, std::string("\x01\x00\x01", 3));
  std::string test_images = idx({2, 2, 2}, std::string("\x09\x08\x07\x06\x05\x04\x03\x02", 8));
  std::string test_labels = idx({2}, std::string("\x00\x01", 2));
};

inline void put_tiny(const fs::path& folder, const TinyFiles& files = {}) {
  put(folder / "train-images-idx3-ubyte", files.train_images);
  put(folder / "train-labels-idx1-ubyte", files.train_labels);
  put(folder / "t10k-images-idx3-ubyte", files.test_images);
  put(folder / "t10k-labels-idx1-ubyte", files.test_labels);
}

inline std::string sha256(const std::string& bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

/// The descriptor of the tiny files, named `tiny`, with two classes.
inline std::string tiny_descriptor(const std::vector<std::string>& mirrors, const TinyFiles& files = {}) {
  std::string text =
      "name: tiny\ntitle: three samples\nformat: idx\nshape: [1, 2, 2]\nclasses: 2\ntrain_samples: 3\ntest_samples: 2\n"
      "mean: [0.5]\nstd: [0.25]\n";
  if (!mirrors.empty()) text += "mirrors:\n";
  for (const std::string& mirror : mirrors) text += "  - \"" + mirror + "\"\n";
  text += "files:\n";
  const auto file = [&](const char* role, const char* name, const std::string& bytes) {
    text += std::string("  - {role: ") + role + ", name: " + name + ", bytes: " + std::to_string(bytes.size()) +
            ", sha256: " + sha256(bytes) + "}\n";
  };
  file("train_images", "train-images-idx3-ubyte", files.train_images);
  file("train_labels", "train-labels-idx1-ubyte", files.train_labels);
  file("test_images", "t10k-images-idx3-ubyte", files.test_images);
  file("test_labels", "t10k-labels-idx1-ubyte", files.test_labels);
  return text;
}

/// A machine that has nothing but the descriptor `tiny`: no dataset folder, an empty cache.
class TinyMachine {
 public:
  explicit TinyMachine(const std::vector<std::string>& mirrors = {}) {
    fs::create_directories(descriptor().parent_path());
    put(descriptor(), tiny_descriptor(mirrors));
  }
  fs::path root() const { return folder_.path(); }
  fs::path descriptor() const { return root() / "descriptors" / "tiny.yaml"; }
  fs::path data() const { return root() / "data" / "tiny"; }
  fs::path cache() const { return root() / "cache" / "dptrain" / "datasets" / "tiny"; }

 private:
  TemporaryFolder folder_;
  Environment descriptors_{"DPTRAIN_DATASETS", (folder_.path() / "descriptors").string()};
  Environment data_{"DPTRAIN_DATA", (folder_.path() / "data").string()};
  Environment no_proxy_{"no_proxy", "127.0.0.1"};  // the servers of tests are on the loopback
  Environment cache_{"XDG_CACHE_HOME", (folder_.path() / "cache").string()};
};

inline std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

}  // namespace dptrain::test
