#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "core/error.h"
#include "data/data_files.h"
#include "data/descriptors.h"
#include "data/files/locate.h"
#include "data/image_dataset.h"
#include "data/open/open.h"
#include "spec/reader.h"

namespace dptrain::test {
namespace {

DatasetSpec named(const std::string& name) {
  DatasetSpec spec;
  spec.name = name;
  return spec;
}

DatasetSpec folder_spec(const fs::path& folder) {
  DatasetSpec spec;
  spec.format = DatasetFormat::idx;
  spec.path = folder;
  return spec;
}

SourceMark mark(int line, int column) {
  SourceMark at;
  at.file = "job.yaml";
  at.line = line;
  at.column = column;
  return at;
}

/// The message of the error that opening throws; it must have the status.
std::string message(const DatasetSpec& spec, ExitStatus status,
                    const DataOptions& options = {.offline = true, .progress = {}}) {
  try {
    open_dataset(spec, options);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL_CHECK("it opened");
  return "";
}

std::vector<float> gather(const Dataset& dataset, std::vector<std::int64_t> ids,
                          std::vector<std::int32_t>* labels = nullptr) {
  std::vector<float> out(ids.size() * static_cast<std::size_t>(dataset.shape().elements()));
  std::vector<std::int32_t> found(ids.size());
  dataset.gather(ids, out.data(), found.data());
  if (labels != nullptr) *labels = found;
  return out;
}

ByteBlock block(const std::string& bytes) {
  ByteBlock out(bytes.size());
  std::copy(bytes.begin(), bytes.end(), out.data());
  return out;
}

TEST_CASE("a folder of IDX files opens with its own mean and deviation") {
  const TemporaryFolder folder;
  put_tiny(folder.path());
  std::vector<std::string> news;
  const DatasetPair pair =
      open_dataset(folder_spec(folder.path()), {.progress = [&](const std::string& line) { news.push_back(line); }});
  CHECK(pair.train->size() == 3);
  CHECK(pair.test->size() == 2);
  CHECK(pair.train->shape() == Shape{1, 2, 2});
  CHECK(pair.train->classes() == 2);
  CHECK(pair.name == folder.path().string());
  CHECK(news == std::vector<std::string>{folder.path().string() +
                                         ": mean 0.3157 and std 0.4135, computed from the training images"});

  // 0 1 2 3 16 17 18 19 128 253 254 255
  const double mean = 966 / 12.0, variance = 211178 / 12.0 - mean * mean;
  std::vector<std::int32_t> labels;
  const std::vector<float> values = gather(*pair.train, {2, 0}, &labels);
  CHECK(labels == std::vector<std::int32_t>{1, 1});
  const double bytes[] = {128, 253, 254, 255, 0, 1, 2, 3};
  for (int i = 0; i < 8; ++i)
    CHECK(values[static_cast<std::size_t>(i)] ==
          doctest::Approx((bytes[i] - mean) / std::sqrt(variance)).epsilon(1e-5));

  const DatasetInfo info = inspect_dataset(folder_spec(folder.path()), {});
  CHECK(info.shape == Shape{1, 2, 2});
  CHECK(info.classes == 2);
  CHECK(info.train_samples == 3);
  CHECK(info.test_samples == 2);
}

TEST_CASE("names with a dot before idx are found too, plain or .gz") {
  const TemporaryFolder folder;
  const TinyFiles files;
  put(folder.path() / "train-images.idx3-ubyte", files.train_images);
  put(folder.path() / "train-labels.idx1-ubyte.gz", gzip(files.train_labels));
  put(folder.path() / "t10k-images.idx3-ubyte.gz", gzip(files.test_images));
  put(folder.path() / "t10k-labels-idx1-ubyte", files.test_labels);
  CHECK(open_dataset(folder_spec(folder.path()), {}).train->size() == 3);
}

TEST_CASE("each channel is normalised by its own mean and deviation, in rows of any length") {
  for (const std::int64_t width : {1, 7, 33}) {
    std::string bytes;
    for (std::int64_t i = 0; i < 2 * 2 * width; ++i) bytes += static_cast<char>(i * 37);
    const ImageDataset dataset(block(bytes), block(std::string("\x00\x01", 2)), 2, Shape{2, 1, width}, 2,
                               {{0.25f, 0.5f}, {0.5f, 0.125f}});
    const std::vector<float> values = gather(dataset, {1, 0, 1});
    for (std::int64_t row = 0; row < 3; ++row) {
      for (std::int64_t k = 0; k < 2 * width; ++k) {
        const double scaled =
            static_cast<std::uint8_t>(bytes[static_cast<std::size_t>((row == 1 ? 0 : 2 * width) + k)]) / 255.0;
        const double expected = k < width ? (scaled - 0.25) / 0.5 : (scaled - 0.5) / 0.125;
        CHECK(values[static_cast<std::size_t>(row * 2 * width + k)] == doctest::Approx(expected).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("train_samples and test_samples take the first so many; more than there are is an error of the spec") {
  const TemporaryFolder folder;
  put_tiny(folder.path());
  DatasetSpec spec = folder_spec(folder.path());
  spec.train_samples = 2;
  spec.test_samples = 1;
  const DatasetPair pair = open_dataset(spec, {});
  CHECK(pair.train->size() == 2);
  CHECK(pair.test->size() == 1);
  CHECK(inspect_dataset(spec, {}).train_samples == 2);

  spec.train_samples = 4;
  CHECK(message(spec, ExitStatus::usage) == "dataset.train_samples: 4 is out of range; expected 1 to 3");
  spec.train_samples_at = mark(3, 5);
  CHECK(message(spec, ExitStatus::usage).find("job.yaml:3:5: error: dataset.train_samples: 4 is out of range") == 0);
}

TEST_CASE("what does not fit the data is told at its own key, in the file or on the command line") {
  const TemporaryFolder folder;
  put_tiny(folder.path());
  const auto told = [&](const std::string& keys, const std::vector<Override>& overrides = {}) {
    const JobSpec job =
        read_job_text("dataset:\n  format: idx\n  path: " + folder.path().string() + "\n" + keys +
                          "model: {input: [1, 2, 2], layers: [flatten, {linear: 2}]}\ntrain: {steps: 1, "
                          "global_batch_size: 1, optimizer: {name: sgd, lr: 0.1}}\n",
                      "job.yaml", overrides);
    return message(job.dataset, ExitStatus::usage);
  };
  CHECK(told("  train_samples: 2\n  test_samples: 9\n")
            .starts_with("job.yaml:5:17: error: dataset.test_samples: 9 is out of range; expected 1 to 2\n"));
  CHECK(told("", {{"--set", "dataset.train_samples", "500"}})
            .starts_with("--set dataset.train_samples=500: error: dataset.train_samples: 500 is out of range"));
}

TEST_CASE("a named dataset is looked for in order, and where it was found is told") {
  const TinyMachine machine;
  const auto location = [&](const DatasetSpec& spec) {
    return open_dataset(spec, {.offline = true, .progress = {}}).location;
  };
  put_tiny(machine.cache());
  CHECK(location(named("tiny")) == machine.cache().string());
  put_tiny(machine.data());
  CHECK(location(named("tiny")) == machine.data().string());
  DatasetSpec spec = named("tiny");
  spec.path = machine.root() / "own";
  std::vector<std::string> warnings;
  CHECK(open_dataset(
            spec,
            {.offline = true, .progress = {}, .warning = [&](const std::string& line) { warnings.push_back(line); }})
            .location == machine.data().string());
  REQUIRE(warnings.size() == 1);  // it was meant to be read
  CHECK(warnings[0] ==
        "dataset.path: " + spec.path.string() + ": no such folder; tiny is read from " + machine.data().string());
  put_tiny(spec.path);
  CHECK(location(spec) == spec.path.string());

  // The descriptor's mean 0.5 and std 0.25, not the files' own.
  const DatasetPair pair = open_dataset(spec, {});
  CHECK(pair.name == "tiny");
  CHECK(gather(*pair.train, {0})[3] == doctest::Approx((3 / 255.0 - 0.5) / 0.25));
}

TEST_CASE("where nothing is found the message lists every place and the ways out") {
  const TinyMachine machine({"http://127.0.0.1:9/"});
  put_tiny(machine.data());
  fs::remove(machine.data() / "t10k-labels-idx1-ubyte");
  fs::create_directories(machine.root() / "own");
  DatasetSpec spec = named("tiny");
  spec.path = machine.root() / "own";
  CHECK(replace_all(message(spec, ExitStatus::data), machine.root().string(), "ROOT") ==
        "dataset tiny was not found. Looked in:\n"
        "  ROOT/own: holds none of the files of tiny\n"
        "  ROOT/data/tiny: lacks t10k-labels-idx1-ubyte\n"
        "  datasets/tiny: no such folder\n"
        "  ROOT/cache/dptrain/datasets/tiny: no such folder\n"
        "and could not download it: tiny: not on this machine, and --offline forbids to download it\n"
        "Ways out: put its files into one of those folders; set DPTRAIN_DATA to a folder that holds tiny/; "
        "set dataset.path in the job; or run `dptrain data fetch tiny` where there is a network.");
  CHECK(!fs::exists(machine.cache()));
}

TEST_CASE("an unknown name has the nearest known one, or lists all, with its place in the spec") {
  const TinyMachine machine;
  const std::string text = message(named("tinny"), ExitStatus::usage);
  CHECK(text.find("unknown dataset 'tinny'; did you mean 'tiny'?") == 0);
  CHECK(message(named("../tiny"), ExitStatus::usage)
            .find("unknown dataset '../tiny'; valid are: cifar10, cifar10-jpg, cifar100, digits") == 0);
  DatasetSpec spec = named("imagenet");
  spec.at = mark(7, 2);
  CHECK(message(spec, ExitStatus::usage).find("job.yaml:7:2: error: unknown dataset 'imagenet'; valid are: ") == 0);
}

TEST_CASE("descriptors: an own folder comes first, and must be one") {
  const TinyMachine machine;
  CHECK(find_descriptor("tiny").source == machine.descriptor());
  CHECK(find_descriptor("mnist").train_samples == 60000);
  CHECK(list_descriptors().size() == 6);
  const Environment wrong("DPTRAIN_DATASETS", "/nowhere/at/all");
  CHECK_THROWS_WITH(descriptor_folders(),
                    "DPTRAIN_DATASETS: /nowhere/at/all is not a folder; expected one with NAME.yaml files");
}

TEST_CASE("digits are generated, as many as asked for, and have no path") {
  DatasetSpec spec = named("digits");
  spec.train_samples = 30;
  spec.test_samples = 20;
  const DatasetPair pair = open_dataset(spec, {.offline = true, .progress = {}});
  CHECK(pair.train->size() == 30);
  CHECK(pair.test->size() == 20);
  CHECK(pair.location == "generated");
  CHECK(pair.train->shape() == Shape{1, 28, 28});
  DatasetSpec by_format;
  by_format.format = DatasetFormat::generated;
  by_format.train_samples = 30;
  by_format.test_samples = 20;
  CHECK(gather(*open_dataset(by_format, {}).train, {7}) == gather(*pair.train, {7}));
  by_format.generator_seed = 2;
  CHECK(gather(*open_dataset(by_format, {}).train, {7}) != gather(*pair.train, {7}));
  CHECK(inspect_dataset(named("digits"), {}).train_samples == 60000);

  spec.train_samples = 10'000'001;
  CHECK(message(spec, ExitStatus::usage) == "dataset.train_samples: 10000001 is out of range; expected 1 to 10000000");
  spec = named("digits");
  spec.path = "/tmp";
  CHECK(message(spec, ExitStatus::usage) == "dataset.path: digits is generated and has no files; remove it");
  spec = named("mnist");
  spec.generator_seed = 3;
  CHECK(message(spec, ExitStatus::usage) == "dataset.seed: mnist is not generated; remove it");
}

TEST_CASE("a stop request ends reading and generating") {
  const StopRequest stop{2};
  const DataOptions options = {.progress = {}, .stop = &stop};
  const TinyMachine machine;
  put_tiny(machine.data());
  CHECK_THROWS_AS(open_dataset(named("tiny"), options), Stopped);
  CHECK_THROWS_AS(open_dataset(folder_spec(machine.data()), options), Stopped);
  CHECK_THROWS_AS(open_dataset(named("digits"), options), Stopped);
}

TEST_CASE("MNIST as it is published") {
  if (std::getenv("DPTRAIN_DATA") == nullptr) {
    MESSAGE("skipped: DPTRAIN_DATA is not set");
    return;
  }
  std::vector<TriedPlace> tried;
  if (!find_dataset(find_descriptor("mnist"), {}, tried)) {
    MESSAGE("skipped: mnist is not on this machine");
    return;
  }
  const DatasetPair pair = open_dataset(named("mnist"), {.offline = true, .progress = {}});
  CHECK(pair.train->size() == 60000);
  CHECK(pair.test->size() == 10000);
  CHECK(pair.train->classes() == 10);
  std::vector<std::int32_t> labels;
  gather(*pair.train, {0, 1, 2, 3, 4}, &labels);
  CHECK(labels == std::vector<std::int32_t>{5, 0, 4, 1, 9});
  gather(*pair.test, {0, 1, 2, 3, 4}, &labels);
  CHECK(labels == std::vector<std::int32_t>{7, 2, 1, 0, 4});

  const auto& train = dynamic_cast<const ImageDataset&>(*pair.train);
  std::int64_t sum = 0, label_sum = 0;
  for (std::int64_t i = 0; i < train.size(); ++i) {
    const auto pixels = train.as_bytes()->pixels.subspan(static_cast<std::size_t>(i * 784), 784);
    sum += std::accumulate(pixels.begin(), pixels.end(), std::int64_t{0});
    float ignored[784];
    std::int32_t label = 0;
    train.gather({&i, 1}, ignored, &label);
    label_sum += label;
  }
  CHECK(sum == 1567298545);
  CHECK(label_sum == 267236);
}

}  // namespace
}  // namespace dptrain::test
