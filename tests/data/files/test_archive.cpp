// Compressed archives: unpacked once, whole or not at all, into the cache and nowhere else.
#include <doctest/doctest.h>

#include "data/files/archive.h"
#include "data/files/fetch.h"
#include "data/image_sets.h"

namespace dptrain {
namespace {

namespace fs = std::filesystem;
using test::all_of;
using test::images_at;
using test::refused;

/// A machine of its own: a folder for archives, a cache, and all that is around them.
class Machine {
 public:
  Machine() { fs::create_directories(home()); }
  fs::path home() const { return folder_.path() / "home" / "deep"; }
  fs::path cache() const { return folder_.path() / "cache" / "dptrain" / "datasets" / "unpacked"; }
  /// Every file that is not in home/deep, by name.
  std::vector<std::string> written() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
      const std::string name = fs::relative(entry.path(), folder_.path()).string();
      if (entry.is_regular_file() && !name.starts_with("home/deep/")) names.push_back(name);
    }
    return names;
  }

 private:
  test::TemporaryFolder folder_;
  test::Environment cache_{"XDG_CACHE_HOME", (folder_.path() / "cache").string()};
};

std::string open_tar(const fs::path& path, const DataOptions& options = {}) {
  return refused(ExitStatus::data, [&] { open_dataset(images_at(DatasetFormat::image_tar, path), options); });
}

}  // namespace

TEST_CASE("a compressed tar is unpacked once, however it is compressed, and is the same dataset") {
  const Machine machine;
  const std::string plain = test::tar_of(test::small_set());
  test::put(machine.home() / "plain.tar", plain);
  const auto expected =
      all_of(*open_dataset(images_at(DatasetFormat::image_tar, machine.home() / "plain.tar"), {}).train);
  CHECK(machine.written().empty());
  for (const char* filter : {"xz", "gzip", "bzip2", "zstd", "lz4"}) {
    CAPTURE(filter);
    const fs::path path = machine.home() / (std::string("set.tar.") + filter);
    test::put(path, test::compressed(plain, filter));
    std::vector<std::string> news;
    const DataOptions options{.progress = [&](const std::string& line) { news.push_back(line); }};
    for (int round = 0; round < 2; ++round) {
      const DatasetPair pair = open_dataset(images_at(DatasetFormat::image_tar, path), options);
      CHECK(all_of(*pair.train) == expected);
    }
    REQUIRE(news.size() == 1);
    CHECK(news[0].starts_with("unpacking " + path.string() + " to " + machine.cache().string()));
    CHECK(news[0].ends_with(", once"));
  }
  CHECK(machine.written().size() == 6);  // and the lock
  // Another file at the same path is another archive.
  auto other = test::small_set();
  other.erase("train/ant/0.jpg");
  test::put(machine.home() / "set.tar.xz", test::compressed(test::tar_of(other), "xz"));
  CHECK(open_dataset(images_at(DatasetFormat::image_tar, machine.home() / "set.tar.xz"), {}).train->size() == 11);
}

TEST_CASE("archives of one name, in two folders or one after the other, are unpacked each for itself") {
  for (const std::string name : {"set.tgz", "set.txz", "set.tbz2", "set", "set.tar.gz"}) {
    CAPTURE(name);
    const Machine machine;
    const auto samples = [&](const fs::path& path) {
      return open_dataset(images_at(DatasetFormat::image_tar, path), {}).train->size();
    };
    auto files = test::small_set();
    test::put(machine.home() / "a" / name, test::compressed(test::tar_of(files), "gzip"));
    files.erase("train/ant/0.jpg");
    const std::string fewer = test::compressed(test::tar_of(files), "gzip");
    test::put(machine.home() / "b" / name, fewer);
    // What an earlier version left under the archive's name alone may be another archive's.
    files.erase("train/bee/0.jpg");
    test::put(machine.cache() / name, test::tar_of(files));
    CHECK(samples(machine.home() / "a" / name) == 12);
    CHECK(samples(machine.home() / "b" / name) == 11);
    files.erase("train/cat/0.jpg");
    test::put(machine.home() / "b" / name, test::compressed(test::tar_of(files), "gzip"));
    CHECK(samples(machine.home() / "b" / name) == 9);
    CHECK(machine.written().size() == 5);  // three tars, the one from before, and the lock
  }
}

TEST_CASE("hostile members of a compressed tar: the promised message, and nothing but the tar in the cache") {
  for (const char* name : {"../../x", "/tmp/dptrain-hostile", "train/../../../x"}) {
    const Machine machine;
    test::TarBytes tar;
    tar.add(name, "evil");
    test::put(machine.home() / "evil.tar.gz", test::compressed(tar.whole(), "gzip"));
    const std::string message = open_tar(machine.home() / "evil.tar.gz");
    CHECK(message.find(std::string("member '") + name + "' would lie outside of the archive's folder") !=
          std::string::npos);
    CHECK_FALSE(fs::exists("/tmp/dptrain-hostile"));
    for (const std::string& written : machine.written()) CHECK(written.starts_with("cache/dptrain/datasets/unpacked/"));
  }
}

TEST_CASE("what cannot be unpacked leaves nothing but a lock") {
  const Machine machine;
  const std::string plain = test::tar_of(test::small_set()), xz = test::compressed(plain, "xz");
  const auto only_the_lock = [&] {
    return machine.written() == std::vector<std::string>{"cache/dptrain/datasets/unpacked/.lock"};
  };
  const fs::path path = machine.home() / "set.tar.xz";
  test::put(path, xz.substr(0, xz.size() / 2));
  CHECK(open_tar(path).starts_with(path.string() + ": cannot be unpacked: "));
  CHECK(only_the_lock());
  test::put(path, "PK\x03\x04 and so on");
  CHECK(open_tar(path) == path.string() + ": neither a tar nor a tar compressed by gzip, bzip2, xz, lzma, zstd or lz4");
  CHECK(only_the_lock());
  test::put(path, xz);
  CHECK(open_tar(path, {.unpack_bytes = 5000}) ==
        path.string() + ": unpacks to more than data.unpack_bytes allows, 5000; raise it, or unpack it yourself");
  CHECK(only_the_lock());
  // Small when packed, large when not.
  test::put(path, test::compressed(std::string(30 << 20, '\0'), "xz"));
  CHECK(open_tar(path, {.unpack_bytes = 1 << 20}).find("unpacks to more than data.unpack_bytes allows") !=
        std::string::npos);
  CHECK(only_the_lock());
  StopRequest stop{15};
  CHECK_THROWS_AS(open_dataset(images_at(DatasetFormat::image_tar, path), {.stop = &stop}), Stopped);
  CHECK(only_the_lock());
  CHECK(open_tar(machine.home() / "nowhere.tar").find("cannot be opened: No such file") != std::string::npos);
}

TEST_CASE("a compressed tar with any byte changed is read as it was, or refused") {
  const Machine machine;
  test::TarBytes tar;
  tar.add("train/a/1.jpg", "x");
  for (const std::string filter : {"xz", "gzip", "bzip2", "zstd"}) {
    CAPTURE(filter);
    const std::string good = test::compressed(tar.whole(), filter.c_str());
    for (std::size_t k = 0; k < good.size(); ++k) {
      CAPTURE(k);
      std::string bad = good;
      bad[k] = static_cast<char>(bad[k] ^ 0xff);
      test::put(machine.home() / "x.tar.z", bad);
      const fs::path target = machine.home() / "out.tar";
      try {
        decompress(machine.home() / "x.tar.z", target, {.unpack_bytes = 1 << 20});
        if (filter != "zstd") CHECK(test::read_text(target) == tar.whole());  // libarchive writes it without a checksum
      } catch (const Error& error) {
        CHECK(error.status() == ExitStatus::data);
        CHECK_FALSE(fs::exists(target));
      }
      fs::remove(target);
    }
  }
}

TEST_CASE("a gzip file is refused by its checksum, its length, its end and what follows it, and leaves nothing") {
  const Machine machine;
  const std::string tar = test::tar_of(test::small_set()), good = test::gzip(tar);
  const fs::path path = machine.home() / "set.tar.gz";
  const auto changed = [&](std::size_t from_end) {
    std::string bad = good;
    bad[bad.size() - from_end] ^= 1;
    return bad;
  };
  for (const auto& [bytes, why] : std::vector<std::pair<std::string, std::string>>{
           {changed(8), "corrupt gzip data: incorrect data check"},
           {changed(4), "corrupt gzip data: incorrect length check"},
           {good.substr(0, good.size() - 1), "the gzip data end too early; the file is truncated"},
           {good + "x", "expected the end of the file after the gzip data"},
           {good + std::string(100, '\0') + good, "expected the end of the file after the gzip data"}}) {
    CAPTURE(why);
    test::put(path, bytes);
    const std::string message = open_tar(path);
    CHECK(message.starts_with(path.string() + ": byte "));
    CHECK(message.ends_with(why));
    CHECK(machine.written() == std::vector<std::string>{"cache/dptrain/datasets/unpacked/.lock"});
  }
  // Several members are one file: what `cat a.gz b.gz` makes.
  test::put(path, test::gzip(tar.substr(0, 1000)) + test::gzip(tar.substr(1000)));
  CHECK(open_dataset(images_at(DatasetFormat::image_tar, path), {}).train->size() == 12);
  // Zeros behind it are what fills a tape's last block; more of them than are read at a time.
  test::put(path, good + std::string(1 << 20, '\0'));
  CHECK(open_dataset(images_at(DatasetFormat::image_tar, path), {}).train->size() == 12);
}

TEST_CASE("a described archive is found in its folder, checked by its hash, and read from the cache afterwards") {
  const Machine machine;
  const test::Environment data("DPTRAIN_DATA", machine.home().string());
  const test::Environment descriptors("DPTRAIN_DATASETS", (machine.home() / "descriptors").string());
  const std::string archive = test::compressed(test::tar_of(test::small_set()), "xz");
  const auto describe = [&](const std::string& hash, int train) {
    test::put(machine.home() / "descriptors" / "small-jpg.yaml",
              "name: small-jpg\ntitle: small\nformat: image_tar\nfolder: small\nshape: [3, 12, 10]\nclasses: 3\n"
              "train_samples: " +
                  std::to_string(train) +
                  "\ntest_samples: 6\nmean: [0.5, 0.4, 0.3]\nstd: [0.2, 0.25, 0.3]\n"
                  "files: [{role: archive, name: small.tar.xz, bytes: " +
                  std::to_string(archive.size()) + ", sha256: " + hash + "}]\n");
  };
  test::put(machine.home() / "small" / "small.tar.xz", archive);
  DatasetSpec spec;
  spec.name = "small-jpg";
  describe(std::string(64, '0'), 12);
  CHECK(refused(ExitStatus::data, [&] { open_dataset(spec, {}); }).find("small.tar.xz: expected SHA-256 0000") !=
        std::string::npos);
  describe(test::sha256(archive), 12);
  const DatasetPair pair = open_dataset(spec, {});
  CHECK(pair.name == "small-jpg");
  CHECK(pair.location == (machine.home() / "small").string());
  CHECK(pair.train->size() == 12);
  CHECK(fetch_dataset(
            {.name = "small-jpg",
             .title = {},
             .format = DatasetFormat::image_tar,
             .shape = {},
             .classes = 3,
             .train_samples = 12,
             .test_samples = 6,
             .mean = {},
             .std = {},
             .mirrors = {},
             .files = {{"archive", "small.tar.xz", static_cast<std::int64_t>(archive.size()), test::sha256(archive)}},
             .folder = "small",
             .source = {}},
            {}) == machine.home() / "small");
  describe(test::sha256(archive), 13);
  CHECK(refused(ExitStatus::data, [&] { open_dataset(spec, {}); }).find("expected 13 + 6 images of 3 classes") !=
        std::string::npos);
}

}  // namespace dptrain
