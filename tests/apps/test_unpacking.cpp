// Compressed archives and the built binary: whatever is to be unpacked, its bound, news and signals hold from the first
// look at it on.
#include <doctest/doctest.h>

#include <algorithm>

#include "apps/end_to_end.h"
#include "data/image_sets.h"

namespace dptrain::test {

namespace {

/// A job on images that a compressed archive holds.
class Images : public Workplace {
 public:
  Images() {
    write_text(folder / "images.yaml", R"(name: images
dataset: {format: image_tar, path: set.tgz}
model:
  input: [3, 12, 10]
  layers: [flatten, {linear: 3}]
train: {steps: 2, global_batch_size: 8, micro_batch_size: 4, optimizer: {name: sgd, lr: 0.01}}
devices: {type: cpu, count: 1}
)");
    put(folder / "set.tgz", compressed(tar_of(small_set()), "gzip"));
  }
  /// Every command that looks at a job's data, with what keeps it short.
  std::vector<std::vector<std::string>> commands() const {
    return {{"images.yaml", "--out", "run"},
            {"check", "images.yaml"},
            {"plan", "images.yaml", "--devices", "1", "--seconds", "0.01"},
            {"compare", "images.yaml", "--modes", "sync", "--target", "0.01", "--out", "compared"}};
  }
  /// What is in the cache's folder for archives, but for the lock.
  std::vector<std::string> cached() const {
    std::vector<std::string> names;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder / "cache/dptrain/datasets/unpacked", none)) {
      if (entry.path().filename() != ".lock") names.push_back(entry.path().filename().string());
    }
    return names;
  }
};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("an archive is unpacked within data.unpack_bytes, and once, which is told") {
  for (std::size_t k = 0; k < Images().commands().size(); ++k) {
    const Images here;
    std::vector<std::string> command = here.commands()[k];
    CAPTURE(k);
    const Finished done = here.dptrain(command);
    CHECK(done.status == 0);
    CHECK(count(done.err, "unpacking set.tgz to ") == 1);
    CHECK(here.cached().size() == 1);
    fs::remove_all(here.folder / "cache");
    command.insert(command.end(), {"--set", "data.unpack_bytes=5000"});
    if (command.front() != "check" && command.front() != "plan") command.emplace_back("--fresh");
    const Finished refused = here.dptrain(command);
    CHECK(refused.status == 3);
    CHECK(has(refused.err, "set.tgz: unpacks to more than data.unpack_bytes allows, 5000"));
    CHECK(here.cached().empty());
  }
}

TEST_CASE("a signal while an archive is unpacked: nothing of it stays in the cache, and no run folder") {
  const std::string zeros = compressed(std::string(64 << 20, '\0'), "gzip");
  std::string large;  // 16 GiB: a member of a gzip file after the other
  for (int k = 0; k < 256; ++k) large += zeros;
  std::vector<std::vector<std::string>> commands = Images().commands();
  commands.push_back({"data", "info", "./set.tgz"});
  for (std::size_t k = 0; k < commands.size(); ++k) {
    const Images here;
    put(here.folder / "set.tgz", large);
    CAPTURE(k);
    Process process(here.command(commands[k]), here.options());
    REQUIRE(eventually([&] { return !here.cached().empty(); }));
    process.signal(k % 2 == 0 ? SIGTERM : SIGINT);
    const Finished stopped = process.wait();
    CHECK(stopped.status == (k % 2 == 0 ? 143 : 130));
    CHECK(here.cached().empty());
    CHECK_FALSE(fs::exists(here.folder / "run"));
    CHECK_FALSE(fs::exists(here.folder / "compared"));
  }
}

TEST_CASE("a tar is indexed once: what is left out of it is told once") {
  const Images here;
  TarBytes tar;
  for (const auto& [name, data] : small_set()) tar.add(name, data);
  tar.add(TarBytes::Header{.name = "train/ant/link.jpg", .type = '2', .link = "0.jpg", .prefix = {}});
  put(here.folder / "set.tar", tar.whole());
  const Finished done = here.dptrain(
      {"images.yaml", "--out", "run", "--set", "dataset.path=set.tar", "--set", "dataset.on_bad_sample=skip"});
  CHECK(done.status == 0);
  CHECK(count(done.err,
              "member 'train/ant/link.jpg' is a symbolic link; only regular files are read; it is left out") == 1);
}

}  // namespace dptrain::test
