// Equal weights at any number of replicas and loading threads, with decoding, augmentation, and a sample that cannot be
// read.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "core/error.h"
#include "data/open/open.h"
#include "spec/reader.h"
#include "support/files.h"
#include "support/image_bytes.h"
#include "support/tar_bytes.h"
#include "train/trainer.h"

namespace dptrain {
namespace {

/// Three classes of 30 + 7 images; two of the training images are bad.
std::string set_of_images() {
  test::TarBytes tar;
  for (int k = 0; k < 111; ++k) {
    const int label = k % 3;
    std::string file = test::jpeg(test::make_picture(static_cast<std::uint64_t>(k), label, 16, 16));
    if (k == 40) file.resize(200);
    if (k == 77) file = "bad";
    tar.add(fmt::format("{}/c{}/{:03}.jpg", k < 90 ? "train" : "test", label, k), file);
  }
  return tar.whole();
}

class Images {
 public:
  Images() { test::write_text(path(), set_of_images()); }
  std::filesystem::path path() const { return folder_ / "set.tar"; }

 private:
  test::TemporaryFolder folder_;
};

std::string job_text(const Images& images, const std::string& augment) {
  return fmt::format(R"(dataset:
  format: image_tar
  path: {}
  on_bad_sample: skip
  augment: [{}]
model:
  input: [3, 12, 12]
  layers:
    - conv2d: {{out_channels: 8, kernel_size: 3, init: whiten}}
    - relu
    - max_pool2d: 2
    - flatten
    - linear: 3
train:
  epochs: 3
  global_batch_size: 20
  micro_batch_size: 5
  optimizer: {{name: sgd, lr: 0.05, momentum: 0.9}}
)",
                     images.path().string(), augment);
}

}  // namespace

TEST_CASE("images: the same bits at 1, 2 and 4 replicas with 0, 1 and 2 loading threads each, kept in memory or not") {
  const Images images;
  for (const std::string augment : {"{random_crop: {size: 12, padding: 2}}, horizontal_flip, {cutout: 4}",
                                    "{random_resized_crop: {size: 12, scale: [0.3, 1]}}, {colour_jitter: {brightness: "
                                    "0.3, contrast: 0.3, saturation: "
                                    "0.3}}"}) {
    std::set<std::string> hashes;
    std::set<std::size_t> warnings;
    for (const int replicas : {1, 2, 4}) {
      for (const int workers : {0, 1, 2}) {
        for (const std::int64_t cache : {0, 30000, 1 << 20}) {
          if (cache == 30000 && workers != 2) continue;
          const JobSpec job = read_job_text(job_text(images, augment), "images.yaml",
                                            {{"--set", "devices.count", std::to_string(replicas)},
                                             {"--set", "devices.type", "cpu"},
                                             {"--set", "data.workers", std::to_string(workers)},
                                             {"--set", "data.cache_bytes", std::to_string(cache)}});
          std::set<std::string> named;
          const DatasetPair data = open_dataset(
              job.dataset,
              {.warning = [&](const std::string& line) { named.insert(line); }, .cache_bytes = job.data.cache_bytes});
          Reporter reporter;
          const Summary summary = train(job, data, reporter);
          hashes.insert(summary.weights_hash);
          warnings.insert(named.size());
        }
      }
    }
    CHECK(hashes.size() == 1);
    CHECK(warnings == std::set<std::size_t>{2});
  }
}

TEST_CASE("images: another seed augments otherwise, no augmentation is something else again") {
  const Images images;
  std::set<std::string> hashes;
  for (const char* seed : {"1", "2"}) {
    for (const char* augment : {"[{random_crop: {size: 12, padding: 2}}]", "[{random_crop: {size: 12}}]"}) {
      const JobSpec job = read_job_text(job_text(images, "horizontal_flip"), "images.yaml",
                                        {{"--set", "devices", "{type: cpu, count: 1}"},
                                         {"--set", "seed", seed},
                                         {"--set", "dataset.augment", augment}});
      Reporter reporter;
      hashes.insert(train(job, open_dataset(job.dataset, {}), reporter).weights_hash);
    }
  }
  CHECK(hashes.size() == 4);
}

TEST_CASE("a sample that cannot be read while the run goes on ends it, and is named") {
  const Images images;
  const std::filesystem::path folder = images.path().parent_path() / "set";
  for (int k = 0; k < 60; ++k) {
    const std::filesystem::path file = folder / fmt::format("{}/c{}/{:02}.png", k < 50 ? "train" : "test", k % 3, k);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary)
        << test::png(test::make_picture(static_cast<std::uint64_t>(k), k % 3, 12, 12));
  }
  JobSpec job = read_job_text(job_text(images, "horizontal_flip"), "images.yaml",
                              {{"--set", "dataset.format", "image_folder"},
                               {"--set", "dataset.path", folder.string()},
                               {"--set", "dataset.on_bad_sample", "stop"}});
  const DatasetPair data = open_dataset(job.dataset, {.cache_bytes = 0});
  std::filesystem::remove(folder / "train/c1/40.png");
  for (const int workers : {0, 2}) {
    job.data.workers = workers;
    job.devices = {DeviceType::cpu, 2, 1, false, {}};
    std::string message;
    try {
      Reporter reporter;
      train(job, data, reporter);
    } catch (const Error& error) {
      message = error.what();
      CHECK(error.status() == ExitStatus::data);
    }
    const std::string expected =
        (folder / "train/c1/40.png").string() + ": cannot be opened: No such file or directory";
    CHECK(message.ends_with(expected));  // before it the replica and the step
  }
}

}  // namespace dptrain
