// CIFAR's binary files, generated: in a folder, in the folder that their archive makes, and in the archive.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "data/formats/cifar.h"
#include "data/image_dataset.h"
#include "data/image_sets.h"

namespace dptrain {
namespace {

namespace fs = std::filesystem;
using test::all_of;
using test::images_at;
using test::refused;

/// `samples` records; a sample's pixels are functions of its number.
std::string records(int samples, int first, int classes) {
  std::string out;
  for (int k = first; k < first + samples; ++k) {
    if (classes == 100) out += static_cast<char>(k % 20);
    out += static_cast<char>(k % classes);
    for (int p = 0; p < kCifarPixels; ++p) out += static_cast<char>(k * 31 + p * 7 + p / 1024);
  }
  return out;
}

std::map<std::string, std::string> ten() {
  std::map<std::string, std::string> files;
  for (int k = 0; k < 5; ++k) files["data_batch_" + std::to_string(k + 1) + ".bin"] = records(3, 3 * k, 10);
  files["test_batch.bin"] = records(4, 100, 10);
  return files;
}

}  // namespace

TEST_CASE(
    "CIFAR-10: five files in their order, or CIFAR-100: fine labels; pixels are the channels one after the other") {
  const test::TemporaryFolder folder;
  test::put_files(folder.path() / "ten", ten());
  const DatasetSpec spec = images_at(DatasetFormat::cifar, folder.path() / "ten");
  const DatasetPair pair = open_dataset(spec, {});
  CHECK(pair.train->shape() == Shape{3, 32, 32});
  CHECK(pair.train->size() == 15);
  CHECK(pair.test->size() == 4);
  CHECK(inspect_dataset(spec, {}).train_samples == 15);
  const auto& train = dynamic_cast<const ImageDataset&>(*pair.train);
  for (const int k : {0, 4, 14}) {
    for (const int p : {0, 1, 1024, 3071}) {
      CHECK(train.as_bytes()->pixels[static_cast<std::size_t>(k * 3072 + p)] ==
            static_cast<std::uint8_t>(k * 31 + p * 7 + p / 1024));
    }
  }
  const std::vector<float> values = all_of(train);
  CHECK(values[values.size() - 2] == 3);  // sample 13

  test::put_files(folder.path() / "hundred" / "cifar-100-binary",
                  {{"train.bin", records(150, 0, 100)}, {"test.bin", records(5, 60, 100)}});
  const DatasetPair hundred = open_dataset(images_at(DatasetFormat::cifar, folder.path() / "hundred"), {});
  CHECK(hundred.train->classes() == 100);
  CHECK(hundred.train->size() == 150);
  CHECK(all_of(*hundred.test).back() == 64);
}

TEST_CASE("both CIFARs in one folder: each is found under its own name, and a format alone does not say which") {
  const test::TemporaryFolder folder;
  const fs::path place = folder.path() / "data" / "cifar";
  test::put_files(place / "cifar-10-batches-bin", ten());
  test::put_files(place / "cifar-100-binary", {{"train.bin", records(150, 0, 100)}, {"test.bin", records(5, 60, 100)}});
  const test::Environment data("DPTRAIN_DATA", (folder.path() / "data").string());
  const test::Environment descriptors("DPTRAIN_DATASETS", (folder.path() / "descriptors").string());
  for (const auto& [name, classes, train, test] : {std::tuple{"a", 10, 15, 4}, {"b", 100, 150, 5}}) {
    test::put(folder.path() / "descriptors" / (std::string(name) + ".yaml"),
              fmt::format("name: {}\ntitle: few\nformat: cifar\nfolder: cifar\nshape: [3, 32, 32]\nclasses: {}\n"
                          "train_samples: {}\ntest_samples: {}\nmean: [0.5, 0.5, 0.5]\nstd: [0.2, 0.2, 0.2]\n"
                          "files: [{{role: archive, name: few.tar.gz, bytes: 1, sha256: {}}}]\n",
                          name, classes, train, test, std::string(64, '0')));
    DatasetSpec spec;
    spec.name = name;
    CHECK(open_dataset(spec, {.offline = true}).train->size() == train);
  }
  const std::string at = place.string();
  CHECK(refused(ExitStatus::data, [&] { open_dataset(images_at(DatasetFormat::cifar, place), {}); }) ==
        at + ": holds CIFAR-10 and CIFAR-100; expected one of them, as in " + at + "/cifar-10-batches-bin or " + at +
            "/cifar-100-binary");
  CHECK(open_dataset(images_at(DatasetFormat::cifar, place / "cifar-100-binary"), {}).train->classes() == 100);
}

TEST_CASE("a wrong size or label is named with its byte") {
  const test::TemporaryFolder folder;
  auto files = ten();
  const auto message = [&] {
    test::put_files(folder.path(), files);
    return refused(ExitStatus::data, [&] { open_dataset(images_at(DatasetFormat::cifar, folder.path()), {}); });
  };
  CHECK(refused(ExitStatus::data, [&] {
          open_dataset(images_at(DatasetFormat::cifar, folder.path()), {});
        }).find("expected data_batch_1.bin to data_batch_5.bin") != std::string::npos);
  files["data_batch_3.bin"] += 'x';
  CHECK(message() == (folder.path() / "data_batch_3.bin").string() +
                         ": expected records of 3073 bytes, as CIFAR-10 has them; 9220 bytes are no number of those");
  files["data_batch_3.bin"] = records(2, 0, 10);
  files["data_batch_3.bin"][3073] = 10;
  CHECK(message() ==
        (folder.path() / "data_batch_3.bin").string() + ": byte 3073: label 10 is out of range; expected 0 to 9");
}

TEST_CASE("an empty or cut CIFAR file is a fault of the data, named, before any sample is counted") {
  const test::TemporaryFolder folder;
  for (const char* name : {"test_batch.bin", "data_batch_3.bin"}) {
    for (const int size : {0, 3000, 3074}) {
      auto files = ten();
      files[name].resize(static_cast<std::size_t>(size));
      test::put_files(folder.path(), files);
      CHECK(refused(ExitStatus::data, [&] {
              inspect_dataset(images_at(DatasetFormat::cifar, folder.path()), {});
            }).starts_with((folder.path() / name).string() + ": expected records of 3073 bytes"));
    }
  }
}

TEST_CASE("the described archive, and its files where they lie unpacked") {
  const test::TemporaryFolder folder;
  const test::Environment data("DPTRAIN_DATA", (folder.path() / "data").string());
  const test::Environment cache("XDG_CACHE_HOME", (folder.path() / "cache").string());
  const test::Environment descriptors("DPTRAIN_DATASETS", (folder.path() / "descriptors").string());
  const std::string archive = test::compressed(test::tar_of(ten(), "cifar-10-batches-bin/"), "gzip");
  test::put(
      folder.path() / "descriptors" / "few.yaml",
      "name: few\ntitle: few\nformat: cifar\nshape: [3, 32, 32]\nclasses: 10\ntrain_samples: 15\ntest_samples: 4\n"
      "mean: [0.5, 0.5, 0.5]\nstd: [0.2, 0.2, 0.2]\nfiles: [{role: archive, name: few.tar.gz, bytes: " +
          std::to_string(archive.size()) + ", sha256: " + test::sha256(archive) + "}]\n");
  DatasetSpec spec;
  spec.name = "few";
  CHECK(refused(ExitStatus::data, [&] { open_dataset(spec, {.offline = true}); }).find("few was not found") !=
        std::string::npos);
  test::put(folder.path() / "data" / "few" / "few.tar.gz", archive);
  const std::vector<float> packed = all_of(*open_dataset(spec, {}).train);
  fs::remove(folder.path() / "data" / "few" / "few.tar.gz");
  test::put_files(folder.path() / "data" / "few" / "cifar-10-batches-bin", ten());
  CHECK(all_of(*open_dataset(spec, {}).train) == packed);
  spec.augment = {HorizontalFlipSpec{}};
  const DatasetPair augmented = open_dataset(spec, {});
  CHECK(augmented.train->augments());
  CHECK_FALSE(augmented.test->augments());
  CHECK(all_of(*augmented.train) == packed);  // as evaluation sees them
  CHECK(augmented.train->as_bytes() == nullptr);
}

}  // namespace dptrain
