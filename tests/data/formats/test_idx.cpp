#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "core/error.h"
#include "data/data_files.h"
#include "data/formats/byte_source.h"
#include "data/formats/idx.h"
#include "data/open/open.h"

namespace dptrain::test {
namespace {

DatasetSpec folder_spec(const fs::path& folder) {
  DatasetSpec spec;
  spec.format = DatasetFormat::idx;
  spec.path = folder;
  return spec;
}

/// Whether the folder opens; anything but success or Error(data) fails the test.
bool opens(const fs::path& folder) {
  try {
    const DatasetPair pair = open_dataset(folder_spec(folder), {});
    std::vector<float> out(static_cast<std::size_t>(pair.train->shape().elements()));
    std::int32_t label = -1;
    const std::int64_t last = pair.train->size() - 1;
    pair.train->gather({&last, 1}, out.data(), &label);
    REQUIRE(label < pair.train->classes());
    return true;
  } catch (const Error& error) {
    REQUIRE_MESSAGE(error.status() == ExitStatus::data, error.what());
    return false;
  }
}

TEST_CASE("an IDX file reads the same plain, gzipped and in two gzip members") {
  const TemporaryFolder folder;
  const std::string file = TinyFiles().train_images;
  put(folder.path() / "plain", file);
  put(folder.path() / "one.gz", gzip(file));
  put(folder.path() / "two.gz", gzip(file.substr(0, 17)) + gzip(file.substr(17)));
  for (const char* name : {"plain", "one.gz", "two.gz"}) {
    const IdxArray array = read_idx(folder.path() / name, 3);
    CHECK(array.header.extents == std::vector<std::int64_t>{3, 2, 2});
    CHECK(array.header.header_bytes == 16);
    CHECK(std::string(array.values.span().begin(), array.values.span().end()) == file.substr(16));
  }
}

TEST_CASE("bytes past the window of the inflater arrive in order") {
  const TemporaryFolder folder;
  std::string body(300'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 2654435761u >> 24);
  put(folder.path() / "big.gz", gzip(idx({300, 50, 20}, body)));
  const IdxArray array = read_idx(folder.path() / "big.gz", 3);
  CHECK(std::string(array.values.span().begin(), array.values.span().end()) == body);
}

TEST_CASE("every single flipped bit and every cut gives success or a data error, plain and gzipped") {
  for (const bool compressed : {false, true}) {
    const TemporaryFolder folder;
    put_tiny(folder.path());
    for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"}) {
      const std::string plain = read_text(folder.path() / name), bytes = compressed ? gzip(plain) : plain;
      const fs::path file = folder.path() / (name + std::string(compressed ? ".gz" : ""));
      fs::remove(folder.path() / name);
      int refused = 0;
      for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        std::string flipped = bytes;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        put(file, flipped);
        refused += opens(folder.path()) ? 0 : 1;
      }
      CHECK(refused >= 32);  // a good part of them is header or checksum
      for (std::size_t size = 0; size < bytes.size(); ++size) {
        put(file, bytes.substr(0, size));
        CHECK(!opens(folder.path()));
      }
      fs::remove(file);
      put(folder.path() / name, plain);
    }
  }
}

TEST_CASE("random damage gives success or a data error") {
  const TemporaryFolder folder;
  put_tiny(folder.path());
  const std::string good = gzip(read_text(folder.path() / "train-images-idx3-ubyte"));
  fs::remove(folder.path() / "train-images-idx3-ubyte");
  CHECK(rc::check([&] {
    std::string bytes = good;
    for (int i = *rc::gen::inRange(1, 8); i > 0; --i) {
      bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = static_cast<char>(*rc::gen::inRange(0, 256));
    }
    bytes.resize(*rc::gen::inRange<std::size_t>(bytes.size() / 2, bytes.size() + 8));
    put(folder.path() / "train-images-idx3-ubyte.gz", bytes);
    opens(folder.path());
  }));
}

}  // namespace
}  // namespace dptrain::test
