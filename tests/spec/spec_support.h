// Purpose: what the tests of the spec reader share: files, folders, and the message of a refused spec.
// Thread safety: pure functions.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "spec/reader.h"

namespace dptrain::testing {

inline const std::filesystem::path kTests = DPTRAIN_TESTS_DIR;
inline const std::filesystem::path kSource = DPTRAIN_SOURCE_DIR;

inline std::string contents(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline std::vector<std::filesystem::path> yaml_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The message with which `action` is refused as wrong usage; "accepted" where it is not.
template <class Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.status() == ExitStatus::usage ? error.what() : std::string("another status: ") + error.what();
  }
  return "accepted";
}

inline std::string refusal_of(const std::string& text, const std::vector<Override>& overrides = {}) {
  return refusal([&] { read_job_text(text, "job.yaml", overrides); });
}

/// A small valid spec; tests append to it or override it.
inline const std::string kSmallSpec =
    "dataset: {name: mnist}\n"
    "model:\n"
    "  input: [1, 28, 28]\n"
    "  layers: [flatten, linear: 16, relu, linear: 10]\n"
    "train:\n"
    "  epochs: 1\n"
    "  global_batch_size: 256\n"
    "  optimizer: {name: sgd, lr: 0.1}\n";

}  // namespace dptrain::testing
