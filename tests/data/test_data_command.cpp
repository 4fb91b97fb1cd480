#include <doctest/doctest.h>

#include <sstream>

#include "core/error.h"
#include "data/data_files.h"
#include "data/descriptors.h"
#include "dptrain/data_command.h"

namespace dptrain::test {
namespace {

std::string tidy(const TinyMachine& machine, const std::ostringstream& out) {
  return replace_all(out.str(), machine.root().string(), "ROOT");
}

int data_list(std::ostream& out) {
  return look_after_data({.what = DataCommand::What::list, .dataset = {}}, out);
}

int data_info(const std::string& dataset, std::ostream& out) {
  return look_after_data({.what = DataCommand::What::info, .dataset = dataset}, out);
}

int data_fetch(const std::string& name, bool offline, std::ostream& out) {
  return look_after_data({.what = DataCommand::What::fetch, .dataset = name, .offline = offline}, out);
}

TEST_CASE("data list: one line a dataset and where it is") {
  const TinyMachine machine;
  std::ostringstream before, after;
  CHECK(data_list(before) == 0);
  CHECK(before.str().find("tiny         three samples (not on this machine)\n") != std::string::npos);
  CHECK(before.str().find("of 28x28, any number (generated)\n") != std::string::npos);
  put_tiny(machine.data());
  CHECK(data_list(after) == 0);
  CHECK(tidy(machine, after).find("tiny         three samples (in ROOT/data/tiny)\n") != std::string::npos);
}

TEST_CASE("data info of a named dataset verifies the hashes") {
  const TinyMachine machine;
  const std::string head =
      "title     three samples\nname      tiny\nsamples   3 to train, 2 to test\nshape     1x2x2, 2 classes\n"
      "mean      0.5000, std 0.2500 (from the descriptor)\ndescribed ROOT/descriptors/tiny.yaml\n";
  {
    std::ostringstream out;
    CHECK(data_info("tiny", out) == 3);
    CHECK(tidy(machine, out) ==
          head +
              "not in    ROOT/data/tiny: no such folder\nnot in    datasets/tiny: no such folder\n"
              "not in    ROOT/cache/dptrain/datasets/tiny: no such folder\n`dptrain data fetch tiny` downloads it\n");
  }
  put_tiny(machine.data());
  {
    std::ostringstream out;
    CHECK(data_info("tiny", out) == 0);
    CHECK(tidy(machine, out) == head +
                                    "found in  ROOT/data/tiny\n"
                                    "file      train-images-idx3-ubyte: 28 bytes, SHA-256 as described\n"
                                    "file      train-labels-idx1-ubyte: 11 bytes, SHA-256 as described\n"
                                    "file      t10k-images-idx3-ubyte: 24 bytes, SHA-256 as described\n"
                                    "file      t10k-labels-idx1-ubyte: 10 bytes, SHA-256 as described\n");
  }
  const TinyFiles good;
  TinyFiles bad;
  bad.train_images.back() = 'x';
  put(machine.data() / "train-images-idx3-ubyte", bad.train_images);
  put(machine.data() / "train-labels-idx1-ubyte", good.train_labels + "more");
  fs::remove(machine.data() / "t10k-images-idx3-ubyte");
  put(machine.data() / "t10k-images-idx3-ubyte.gz", "not gzip");
  put(machine.data() / "t10k-labels-idx1-ubyte", "");
  std::ostringstream out;
  CHECK(data_info("tiny", out) == 3);
  CHECK(tidy(machine, out) ==
        head +
            "found in  ROOT/data/tiny\n"
            "file      train-images-idx3-ubyte: WRONG: expected SHA-256 " +
            sha256(good.train_images) + ", found " + sha256(bad.train_images) +
            "\n"
            "file      train-labels-idx1-ubyte: WRONG: expected 11 bytes, found more\n"
            "file      t10k-images-idx3-ubyte.gz: WRONG: ROOT/data/tiny/t10k-images-idx3-ubyte.gz: byte 0: expected a "
            "gzip file (1f 8b), as its name says\n"
            "file      t10k-labels-idx1-ubyte: WRONG: expected 10 bytes, found 0\n");
}

TEST_CASE("data info of a folder measures it") {
  const TemporaryFolder folder;
  put_tiny(folder.path());
  std::ostringstream out;
  CHECK(data_info(folder.path().string(), out) == 0);
  CHECK(out.str().find("samples   3 to train, 2 to test\nshape     1x2x2, 2 classes\n"
                       "mean      0.3157, std 0.4135 (computed from the training images)\n") != std::string::npos);
  CHECK(out.str().find("train-labels-idx1-ubyte: 11 bytes, SHA-256 " + sha256(TinyFiles().train_labels)) !=
        std::string::npos);
  put(folder.path() / "train-labels-idx1-ubyte", "");
  CHECK_THROWS_AS(data_info(folder.path().string(), out), Error);
}

TEST_CASE("data info of a CIFAR folder that lacks a file names that file") {
  const TemporaryFolder folder;
  for (const char* name :
       {"data_batch_1.bin", "data_batch_2.bin", "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"})
    put(folder.path() / name, "");
  std::ostringstream out;
  CHECK_THROWS_WITH(data_info(folder.path().string(), out),
                    (folder.path().string() + ": lacks data_batch_3.bin of CIFAR-10").c_str());
}

TEST_CASE("data info of a CIFAR folder makes every check that training would make, and measures it") {
  const TemporaryFolder folder;
  const auto records = [](int label) {
    return char(label) + std::string(3072, '\x10') + char(0) + std::string(3072, '\x30');
  };
  for (int k = 1; k < 6; ++k) put(folder.path() / ("data_batch_" + std::to_string(k) + ".bin"), records(k));
  put(folder.path() / "test_batch.bin", records(9));
  std::ostringstream out;
  CHECK(data_info(folder.path().string(), out) == 0);
  CHECK(out.str().find(
            "samples   10 to train, 2 to test\nshape     3x32x32, 10 classes\n"
            "mean      0.1255 0.1255 0.1255, std 0.0627 0.0627 0.0627 (computed from the training images)\n") !=
        std::string::npos);
  put(folder.path() / "test_batch.bin", records(10));
  CHECK_THROWS_WITH(
      data_info(folder.path().string(), out),
      (folder.path().string() + "/test_batch.bin: byte 0: label 10 is out of range; expected 0 to 9").c_str());
}

TEST_CASE("data info of a folder that holds none of the formats names them all") {
  const TemporaryFolder folder;
  put(folder.path() / "cat" / "1.png", "");
  fs::create_symlink("loop", folder.path() / "loop");  // what cannot be looked at is none of them
  std::ostringstream out;
  CHECK_THROWS_WITH(
      data_info(folder.path().string(), out),
      (folder.path().string() +
       ": holds none of the formats that are read: train/CLASS/ and test/CLASS/ with "
       "images, CIFAR's .bin files, or train-images-idx3-ubyte and its three companions; a tar of images is "
       "given by its own path")
          .c_str());
  fs::remove_all(folder.path() / "cat");
  fs::remove(folder.path() / "loop");
  put(folder.path() / "around" / "train" / "cat" / "1.png", "");
  CHECK_THROWS_WITH(
      data_info(folder.path().string(), out),
      (folder.path().string() + ": expected images to test with as test/CLASS/NAME.jpg, or below val/; found "
                                "none")
          .c_str());
  fs::remove_all(folder.path() / "around");
  put(folder.path() / "t10k-labels-idx1-ubyte.gz", "");
  CHECK_THROWS_WITH(data_info(folder.path().string(), out),
                    (folder.path().string() + ": lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, "
                                              "t10k-images-idx3-ubyte; expected each plain or as .gz")
                        .c_str());
}

TEST_CASE("data info of a file that is here, without a '/': how to write it") {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  put(folder.path() / "images.tar", "");
  std::ostringstream out;
  CHECK_THROWS_WITH(data_info("images.tar", out),
                    "unknown dataset 'images.tar'; write ./images.tar for the file or folder");
  fs::current_path(before);
}

TEST_CASE("data info of generated digits, and of an unknown name") {
  std::ostringstream out;
  CHECK(data_info("digits", out) == 0);
  CHECK(out.str().find("found in  nowhere: generated, as many samples as asked for\n") != std::string::npos);
  CHECK_THROWS_AS(data_info("digit", out), UnknownDataset);
}

TEST_CASE("data fetch prints the folder, or says why not") {
  const TinyMachine machine;
  put_tiny(machine.cache());
  std::ostringstream out;
  CHECK(data_fetch("tiny", true, out) == 0);
  CHECK(tidy(machine, out) == "ROOT/cache/dptrain/datasets/tiny\n");
  fs::remove(machine.cache() / "t10k-labels-idx1-ubyte");
  CHECK_THROWS_WITH(data_fetch("tiny", true, out), "tiny: not on this machine, and --offline forbids to download it");
  CHECK_THROWS_WITH(data_fetch("tiny", false, out), (machine.descriptor().string() + ": names no mirrors").c_str());
}

TEST_CASE("data fetch of a dataset that training would find elsewhere: its folder, once its hashes are right") {
  const TinyMachine machine;
  put_tiny(machine.data());
  std::ostringstream out;
  CHECK(data_fetch("tiny", true, out) == 0);
  CHECK(tidy(machine, out) == "ROOT/data/tiny\n");
  CHECK(!fs::exists(machine.cache()));
  put(machine.data() / "t10k-labels-idx1-ubyte", TinyFiles().test_labels + "more");
  CHECK_THROWS_WITH(data_fetch("tiny", false, out),
                    ((machine.data() / "t10k-labels-idx1-ubyte").string() +
                     ": expected 10 bytes, found more; remove or mend it: training would "
                     "read it before a download")
                        .c_str());
}

TEST_CASE("with no place for a cache the other places serve; a download says what it lacks") {
  const TinyMachine machine;
  const Environment no_cache("XDG_CACHE_HOME", std::nullopt), no_home("HOME", std::nullopt);
  std::ostringstream list, info, fetch;
  CHECK(data_list(list) == 0);
  CHECK(list.str().find("(not on this machine)") != std::string::npos);
  CHECK_THROWS_WITH(data_fetch("tiny", false, fetch),
                    "no place for downloaded datasets: neither XDG_CACHE_HOME (an absolute path) nor HOME is set");
  put_tiny(machine.data());
  CHECK(data_info("tiny", info) == 0);
  CHECK(data_fetch("tiny", false, fetch) == 0);
  CHECK(tidy(machine, fetch) == "ROOT/data/tiny\n");
}

}  // namespace
}  // namespace dptrain::test
