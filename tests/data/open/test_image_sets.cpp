// Folders and tars of images as datasets: the same samples from each, what is refused, what is skipped, what is kept in
// memory.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "data/formats/input_file.h"
#include "data/image_sets.h"
#include "data/images/decoded_images.h"

namespace dptrain {
namespace {

namespace fs = std::filesystem;
using test::all_of;
using test::images_at;
using test::refused;

const Shape kShape{3, 12, 10};

}  // namespace

TEST_CASE("a folder and a tar of it are the same dataset; the first samples are of all classes") {
  const test::TemporaryFolder folder;
  const auto files = test::small_set();
  test::put_files(folder.path() / "set", files);
  test::put(folder.path() / "set.tar", test::tar_of(files));
  test::put(folder.path() / "around.tar", test::tar_of(files, "some name/"));
  const DatasetPair from_folder = open_dataset(images_at(DatasetFormat::image_folder, folder.path() / "set"), {});
  CHECK(from_folder.train->size() == 12);
  CHECK(from_folder.test->size() == 6);
  CHECK(from_folder.train->shape() == kShape);
  CHECK(from_folder.train->classes() == 3);
  CHECK(from_folder.train->is_costly());
  const std::vector<float> train = all_of(*from_folder.train);
  const std::vector<float> labels(train.end() - 12, train.end());
  CHECK(labels == std::vector<float>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2});
  for (const char* name : {"set.tar", "around.tar"}) {
    const DatasetPair from_tar = open_dataset(images_at(DatasetFormat::image_tar, folder.path() / name), {});
    CHECK(all_of(*from_tar.train) == train);
    CHECK(all_of(*from_tar.test) == all_of(*from_folder.test));
  }
  const DatasetInfo info = inspect_dataset(images_at(DatasetFormat::image_tar, folder.path() / "set.tar"), {});
  CHECK(info.shape == kShape);
  CHECK(info.classes == 3);
  CHECK(info.train_samples == 12);
  CHECK(info.test_samples == 6);

  DatasetSpec some = images_at(DatasetFormat::image_folder, folder.path() / "set");
  some.train_samples = 5;
  some.resize = {{8, 9}};
  some.channels = 1;
  const DatasetPair fewer = open_dataset(some, {});
  CHECK(fewer.train->size() == 5);
  CHECK(fewer.train->shape() == Shape{1, 8, 9});
  CHECK(inspect_dataset(some, {}).shape == Shape{1, 8, 9});
  some.train_samples = 13;
  CHECK(refused(ExitStatus::usage, [&] { open_dataset(some, {}); }).find("13 is out of range; expected 1 to 12") !=
        std::string::npos);
}

TEST_CASE("what an inspection has found of a folder or a tar is not listed again") {
  const test::TemporaryFolder folder;
  const auto files = test::small_set();
  test::put_files(folder.path() / "set", files);
  test::put(folder.path() / "set.tar", test::tar_of(files));
  for (const auto& [format, name] :
       {std::pair{DatasetFormat::image_folder, "set"}, {DatasetFormat::image_tar, "set.tar"}}) {
    const DatasetSpec spec = images_at(format, folder.path() / name);
    const std::vector<float> expected = all_of(*open_dataset(spec, {}).train);
    const DatasetInfo info = inspect_dataset(spec, {});
    if (format == DatasetFormat::image_tar) {
      fs::remove(spec.path);
    } else {
      test::put(spec.path / "train" / "dog" / "0.jpg", files.at("train/cat/0.jpg"));
    }
    for (int round = 0; round < 2; ++round) {
      const DatasetPair pair = open_dataset(spec, {}, info);
      CHECK(pair.train->classes() == 3);
      CHECK(all_of(*pair.train) == expected);
    }
  }
}

TEST_CASE("samples are normalised by the mean of the training images") {
  const test::TemporaryFolder folder;
  test::put_files(folder.path(), test::small_set());
  const DatasetPair pair = open_dataset(images_at(DatasetFormat::image_folder, folder.path()), {});
  const std::vector<float> values = all_of(*pair.train);
  for (int channel = 0; channel < 3; ++channel) {
    double sum = 0, squares = 0;
    for (int k = 0; k < 12; ++k) {
      for (int p = 0; p < 120; ++p) {
        const double value = values[static_cast<std::size_t>((k * 3 + channel) * 120 + p)];
        sum += value;
        squares += value * value;
      }
    }
    CHECK(std::abs(sum / 1440) < 1e-3);
    CHECK(std::abs(squares / 1440 - 1) < 1e-3);
  }
}

TEST_CASE("the mean is measured over all classes, however many there are") {
  for (const int classes : {2, 4, 8}) {
    CAPTURE(classes);
    // Each class is of one colour, and samples are interleaved by class: every so-manieth is of one class alone.
    test::TarBytes tar;
    for (int k = 0; k < 512 * classes + classes; ++k) {
      const int label = k % classes;
      test::Picture picture{.height = 2, .width = 2, .rgb = {}};
      picture.rgb.assign(12, static_cast<std::uint8_t>(20 + 220 * label / (classes - 1)));
      tar.add(fmt::format("{}/{}/{:04}.png", k < 512 * classes ? "train" : "test", label, k), test::png(picture));
    }
    const test::TemporaryFolder folder;
    test::put(folder.path() / "set.tar", tar.whole());
    const DatasetSpec spec = images_at(DatasetFormat::image_tar, folder.path() / "set.tar");
    const DatasetPair pair = open_dataset(spec, {});
    std::vector<float> values = all_of(*pair.train);
    values.resize(values.size() - static_cast<std::size_t>(pair.train->size()));
    double sum = 0, squares = 0;
    for (const float value : values) {
      sum += value;
      squares += value * value;
    }
    const double mean = sum / static_cast<double>(values.size());
    CHECK(std::abs(mean) < 0.1);
    CHECK(std::abs(squares / static_cast<double>(values.size()) - 1) < 0.1);
    CHECK(all_of(*open_dataset(spec, {}).train) == all_of(*pair.train));
  }
}

TEST_CASE("kept in memory, in part, or not at all: the same samples, from any number of threads") {
  const test::TemporaryFolder folder;
  test::put(folder.path() / "set.tar", test::tar_of(test::small_set()));
  const DatasetSpec spec = images_at(DatasetFormat::image_tar, folder.path() / "set.tar");
  const std::vector<float> expected = all_of(*open_dataset(spec, {.cache_bytes = 0}).train);
  for (const std::int64_t cache : {0, 1000, 18 * 360 / 2, 1 << 20}) {
    const DatasetPair pair = open_dataset(spec, {.cache_bytes = cache});
    CHECK(all_of(*pair.train) == expected);
    std::vector<std::vector<float>> seen(4);
    std::vector<std::thread> threads;
    for (auto& out : seen) {
      threads.emplace_back([&] {
        for (int round = 0; round < 5; ++round) out = all_of(*pair.train);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& out : seen) CHECK(out == expected);
  }
}

TEST_CASE("as many samples are kept as there is room for, those with the lowest ids") {
  struct Counted final : ImageFiles {
    std::int64_t size() const override { return 12; }
    std::int32_t label(std::int64_t) const override { return 0; }
    std::string name(std::int64_t id) const override { return std::to_string(id); }
    void read(std::int64_t id, std::vector<std::uint8_t>& out) const override {
      const std::string png = test::png(test::make_picture(static_cast<std::uint64_t>(id), 0, 12, 10));
      out.assign(png.begin(), png.end());
      reads.push_back(id);
    }
    mutable std::vector<std::int64_t> reads;
  };
  constexpr std::int64_t kSample = 3 * 12 * 10;
  for (const auto& [cache, kept] :
       {std::pair{kSample - 1, 0}, {kSample, 1}, {5 * kSample + 7, 5}, {100 * kSample, 12}}) {
    const auto files = std::make_shared<Counted>();
    const DecodedImages images(files, 12, kShape, 1, {.cache_bytes = cache, .warning = {}});
    DecodeScratch scratch;
    const auto read_all = [&] {
      files->reads.clear();
      for (std::int64_t id = 0; id < 12; ++id) images.read(id, scratch);
      return files->reads;
    };
    CHECK(read_all().size() == 12);
    std::vector<std::int64_t> others(static_cast<std::size_t>(12 - kept));
    std::iota(others.begin(), others.end(), kept);
    CHECK(read_all() == others);
  }
}

TEST_CASE("a sample that cannot be read ends the run with its name, or the next good one stands in for it") {
  const test::TemporaryFolder folder;
  auto files = test::small_set();
  const std::string cut = files["train/bee/0.jpg"].substr(0, 300);
  files["train/bee/0.jpg"] = cut;                                          // id 1
  files["train/cat/1.PNG"] = test::png(test::make_picture(1, 1, 50, 51));  // id 5
  files["train/ant/2.jpg"] = test::png_claiming(50000, 50000);             // id 6
  files["train/cat/3.PNG"] = "";                                           // id 11
  test::put(folder.path() / "set.tar", test::tar_of(files));
  test::put_files(folder.path() / "set", files);
  const std::pair<DatasetFormat, fs::path> both[] = {{DatasetFormat::image_tar, folder.path() / "set.tar"},
                                                     {DatasetFormat::image_folder, folder.path() / "set"}};
  for (const auto& [format, path] : both) {
    DatasetSpec spec = images_at(format, path);
    const bool is_tar = format == DatasetFormat::image_tar;
    const auto name = [&](const std::string& of) {
      return is_tar ? path.string() + ": member '" + of + "'" : (path / of).string();
    };
    for (const std::int64_t cache : {0, 1 << 20}) {
      spec.on_bad_sample = OnBadSample::stop;
      // Measuring the mean meets the first bad one.
      CHECK(refused(ExitStatus::data, [&] { open_dataset(spec, {.cache_bytes = cache}); }) ==
            name("train/bee/0.jpg") + ": cannot be decoded as a JPEG: Premature end of JPEG file");
      spec.on_bad_sample = OnBadSample::skip;
      std::vector<std::string> warnings;
      const DatasetPair pair = open_dataset(
          spec, {.warning = [&](const std::string& line) { warnings.push_back(line); }, .cache_bytes = cache});
      CHECK(pair.train->size() == 12);
      const std::vector<float> train = all_of(*pair.train);
      CHECK(all_of(*pair.train) == train);
      const std::vector<float> labels(train.end() - 12, train.end());
      CHECK(labels == std::vector<float>{0, 2, 2, 0, 1, 1, 1, 1, 2, 0, 1, 0});  // 1 -> 2, 5 -> 6 -> 7, 11 -> 0
      CHECK(std::equal(train.begin() + 360, train.begin() + 720, train.begin() + 720));
      const std::string stands = "; the next good sample stands in for it";
      REQUIRE(warnings.size() == 4);
      CHECK(warnings[0] ==
            name("train/bee/0.jpg") + ": cannot be decoded as a JPEG: Premature end of JPEG file" + stands);
      CHECK(warnings[1] == name("train/cat/1.PNG") +
                               ": is 51 x 50 pixels, and the dataset's images are 10 x 12; dataset.resize takes any" +
                               stands);
      CHECK(warnings[2] ==
            name("train/ant/2.jpg") + ": claims 50000 x 50000 pixels; more than 67108864 are refused" + stands);
      CHECK(warnings[3] == name("train/cat/3.PNG") + ": the file is empty" + stands);
    }
  }
}

TEST_CASE("a file that cannot be read is named; a link in a folder is followed, one in a tar refused") {
  const test::TemporaryFolder folder;
  test::put_files(folder.path(), test::small_set());
  fs::create_symlink("/nowhere/at/all.jpg", folder.path() / "train" / "bee" / "9.jpg");
  ::mkfifo((folder.path() / "train" / "cat" / "9.jpg").c_str(), 0600);
  fs::create_symlink("0.jpg", folder.path() / "train" / "ant" / "9.jpg");
  DatasetSpec spec = images_at(DatasetFormat::image_folder, folder.path());
  const std::string message = refused(ExitStatus::data, [&] { all_of(*open_dataset(spec, {}).train); });
  CHECK(message == (folder.path() / "train/bee/9.jpg").string() + ": cannot be opened: No such file or directory");
  fs::remove(folder.path() / "train" / "bee" / "9.jpg");
  CHECK(refused(ExitStatus::data, [&] { all_of(*open_dataset(spec, {}).train); }) ==
        (folder.path() / "train/cat/9.jpg").string() + ": is not a regular file");
  fs::remove(folder.path() / "train" / "cat" / "9.jpg");
  CHECK(open_dataset(spec, {}).train->size() == 13);
}

TEST_CASE("a name that would move the cursor is shown without, however reading fails") {
  const test::TemporaryFolder folder;
  test::put_files(folder.path(), test::small_set());
  fs::create_symlink("/nowhere.jpg", folder.path() / "train" / "ant" / "\x1b[31m0.jpg");
  const std::string message = refused(ExitStatus::data, [&] {
    all_of(*open_dataset(images_at(DatasetFormat::image_folder, folder.path()), {}).train);
  });
  CHECK(message == (folder.path() / "train/ant/?[31m0.jpg").string() + ": cannot be opened: No such file or directory");
}

TEST_CASE("links to folders are followed down to the class, and not below it") {
  const test::TemporaryFolder folder;
  for (const char* around : {"", "around"}) {
    const fs::path set = folder.path() / (std::string("set") + around), top = set / around;
    auto files = test::small_set();
    const std::string bee = files["train/bee/0.jpg"];
    std::erase_if(files, [](const auto& file) { return file.first.starts_with("train/bee/"); });
    test::put_files(top, files);
    test::put(folder.path() / "elsewhere" / "1.jpg", bee);
    fs::create_symlink(folder.path() / "elsewhere", top / "train" / "bee");
    fs::create_symlink(folder.path() / "elsewhere", top / "train" / "ant" / "more");
    fs::create_symlink("..", top / "train" / "cat" / "loop");
    CHECK(open_dataset(images_at(DatasetFormat::image_folder, set), {}).train->size() == 4 + 1 + 4);
  }
  fs::path deep = folder.path() / "set" / "train" / "ant";
  for (int k = 0; k < 40; ++k) deep /= "d";
  test::put(deep / "1.jpg", "");
  CHECK(refused(ExitStatus::data, [&] {
          open_dataset(images_at(DatasetFormat::image_folder, folder.path() / "set"), {});
        }).find("d/d: is more than 32 folders deep") != std::string::npos);
}

TEST_CASE("a folder that cannot be looked at is not one that is missing") {
  const test::TemporaryFolder folder;
  const fs::path path = folder.path() / std::string(300, 'x');  // too long a name, which stops a superuser too
  for (const DatasetFormat format : {DatasetFormat::image_folder, DatasetFormat::idx})
    CHECK(refused(ExitStatus::data, [&] { open_dataset(images_at(format, path), {}); }) ==
          path.string() + ": cannot be looked at: File name too long");
}

TEST_CASE("what the machine fails to read now ends the run, whatever is done with bad samples") {
  InputFile memory("/proc/self/mem", "a disk");  // a regular file whose first bytes are an input/output error
  std::uint8_t byte = 0;
  CHECK_THROWS_AS(memory.read(&byte, 1), ReadFailed);
  CHECK_THROWS_WITH(memory.read_at(0, &byte, 1), "a disk: reading failed: Input/output error");

  struct Failing final : ImageFiles {
    std::int64_t size() const override { return 3; }
    std::int32_t label(std::int64_t) const override { return 0; }
    std::string name(std::int64_t id) const override { return std::to_string(id); }
    void read(std::int64_t id, std::vector<std::uint8_t>& out) const override {
      if (id == 1) throw Error(ExitStatus::data, "1: cannot be opened: No such file or directory");
      if (is_failing) throw ReadFailed(fmt::format("{}: cannot be opened: Too many open files", id));
      const std::string png = test::png(test::make_picture(static_cast<std::uint64_t>(id), 0, 12, 10));
      out.assign(png.begin(), png.end());
    }
    mutable bool is_failing = false;
  };
  const auto files = std::make_shared<Failing>();
  const DecodedImages images(files, 3, kShape, 1, {.on_bad_sample = OnBadSample::skip, .warning = {}});
  DecodeScratch scratch;
  images.read(0, scratch);
  images.read(1, scratch);  // 2 stands in for it
  files->is_failing = true;
  for (const std::int64_t id : {0, 1, 2})
    CHECK(refused(ExitStatus::data, [&] { images.read(id, scratch); }).find("Too many open files") !=
          std::string::npos);
}

TEST_CASE("what is no set of images says what was expected") {
  const test::TemporaryFolder folder;
  const auto message = [&](const std::map<std::string, std::string>& files) {
    const fs::path path = folder.path() / "set.tar";
    test::put(path, test::tar_of(files));
    const std::string what =
        refused(ExitStatus::data, [&] { open_dataset(images_at(DatasetFormat::image_tar, path), {}); });
    return what.starts_with(path.string() + ": ") ? what.substr(path.string().size() + 2) : what;
  };
  CHECK(message({{"a.jpg", ""}}) == "expected images as train/CLASS/NAME.jpg (or .jpeg, .png); found none");
  CHECK(message({{"train/a/1.jpg", ""}, {"train/b/1.jpg", ""}}) ==
        "expected images to test with as test/CLASS/NAME.jpg, or below val/; found none");
  CHECK(message({{"train/a/1.jpg", ""}, {"test/a/1.jpg", ""}}) ==
        "expected two classes or more in train/, found a alone");
  CHECK(message({{"train/a/1.jpg", ""}, {"train/b/1.jpg", ""}, {"val/c/1.jpg", ""}}) ==
        "val/c/1.jpg has images of the class 'c', of which train/ has none");
  CHECK(message({{"train/a/1.jpg", "x"}, {"train/b/1.jpg", "x"}, {"val/a/1.jpg", "x"}}) ==
        "member 'train/a/1.jpg': neither a JPEG (ff d8 ff) nor a PNG (89 50 4e 47) by its first bytes");
  CHECK(refused(ExitStatus::data, [&] {
          open_dataset(images_at(DatasetFormat::image_folder, folder.path() / "nowhere"), {});
        }).find("no such folder; expected one with train/CLASS/ and test/CLASS/") != std::string::npos);
  auto files = test::small_set();
  for (auto& [name, bytes] : files) bytes = "bad";
  test::put(folder.path() / "set.tar", test::tar_of(files));
  DatasetSpec spec = images_at(DatasetFormat::image_tar, folder.path() / "set.tar");
  spec.on_bad_sample = OnBadSample::skip;
  spec.resize = {{8, 8}};
  CHECK(refused(ExitStatus::data, [&] { open_dataset(spec, {}); }) == "none of the 12 samples can be read");
}

}  // namespace dptrain
