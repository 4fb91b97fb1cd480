// Thousands of damaged specs: each is read or refused as wrong usage, and nothing else happens. Sanitizers watch.

#include <doctest/doctest.h>
#include <unistd.h>

#include <random>

#include "spec/descriptor.h"
#include "spec_support.h"

namespace dptrain::testing {
namespace {

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_); }

  std::string mutate(std::string text) {
    static const std::vector<std::string> tokens{
        "[",    "]",        "{",    "}",    ": ",    "- ",    "? ",    "&a ",  "*a",   "!t ", "\"",
        "'",    "|",        ">",    "#",    "%",     "---\n", "...\n", "\n",   "\t",   "  ",  ",",
        "\\",   "~",        "null", "true", "1e999", "-1",    "0x1",   ".inf", "<<: ", "\r",  std::string(1, '\0'),
        "\xFF", "\xC3\xA4", "auto", "none"};
    for (std::size_t edits = 1 + below(4); edits > 0 && !text.empty(); --edits) {
      const std::size_t at = below(text.size());
      switch (below(6)) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
          break;
        case 1:
          text.insert(at, tokens[below(tokens.size())]);
          break;
        case 2:
          text.resize(at);
          break;
        case 3:
          text.erase(at, 1 + below(20));
          break;
        case 4:
          text.insert(at, text.substr(below(text.size()), 1 + below(80)));
          break;
        default:
          text[at] = static_cast<char>(below(256));
      }
    }
    return text;
  }

 private:
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("a damaged spec is read or refused, and what is read can be written and read again") {
  std::vector<std::string> good, bad;
  for (const auto& folder : {kTests / "jobs", kSource / "configs"}) {
    for (const auto& file : yaml_files(folder)) good.push_back(contents(file));
  }
  for (const auto& file : yaml_files(kTests / "spec" / "bad")) bad.push_back(contents(file));
  Mutator mutator(1);
  int accepted = 0, refused = 0;
  for (int round = 0; round < 6000; ++round) {
    const std::vector<std::string>& texts = mutator.below(4) > 0 ? good : bad;
    const std::string text = mutator.mutate(texts[mutator.below(texts.size())]);
    CAPTURE(text);
    try {
      const JobSpec job = read_job_text(text, "job.yaml");
      ++accepted;
      CHECK(read_job_text(to_yaml(job), "job.yaml") == job);
    } catch (const Error& error) {
      ++refused;
      REQUIRE(error.status() == ExitStatus::usage);
      REQUIRE(std::string(error.what()).starts_with("job.yaml:"));
    }
  }
  CHECK(accepted > 50);
  CHECK(refused > 1000);
}

TEST_CASE("a damaged override is read or refused") {
  const std::vector<std::string> paths{"train",          "train.optimizer.lr",
                                       "model.layers.1", "model.layers.1.linear.bias",
                                       "gpus",           "devices.count",
                                       "dataset",        "expect.test_accuracy",
                                       "model.input",    "seed"};
  const std::vector<std::string> values{
      "{name: sgd, lr: 0.1}", "[1, 28, 28]", "3", "{linear: {units: 4, bias: false}}", "\"x\"", "none"};
  Mutator mutator(2);
  int accepted = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string path = paths[mutator.below(paths.size())];
    if (mutator.below(3) == 0) path = mutator.mutate(path);
    std::string value = values[mutator.below(values.size())];
    if (mutator.below(3) != 0) value = mutator.mutate(value);
    CAPTURE(path);
    CAPTURE(value);
    const std::string answer = refusal([&] { read_job_text(kSmallSpec, "job.yaml", {{"--set", path, value}}); });
    accepted += answer == "accepted";
    REQUIRE((answer == "accepted" || answer.find("error: ") != std::string::npos));
    REQUIRE_FALSE(answer.starts_with("another status"));
  }
  CHECK(accepted > 20);
}

TEST_CASE("a damaged descriptor is read or refused") {
  const std::string text = contents(kSource / "datasets" / "mnist.yaml");
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("dptrain_descriptor_{}", ::getpid()) / "mnist.yaml";
  std::filesystem::create_directories(file.parent_path());
  Mutator mutator(3);
  int accepted = 0;
  for (int round = 0; round < 1000; ++round) {
    std::ofstream(file, std::ios::binary) << mutator.mutate(text);
    const std::string answer = refusal([&] { read_descriptor(file); });
    accepted += answer == "accepted";
    REQUIRE_FALSE(answer.starts_with("another status"));
  }
  CHECK(accepted > 10);
  std::filesystem::remove_all(file.parent_path());
}

}  // namespace dptrain::testing
