#include "train/first_weights.h"

#include <fmt/format.h>

#include <fstream>

#include "core/hash.h"
#include "interop/safetensors.h"

namespace dptrain {

namespace {

constexpr std::string_view kNote = "# First weights: ";

}  // namespace

std::string first_weights_note(const std::string& hash) {
  if (hash.empty()) return "";
  return fmt::format("{}{}, from --init-from and not from the seed; they are in checkpoints/step-0.\n", kNote, hash);
}

std::string noted_first_weights(const std::filesystem::path& run_folder) {
  std::ifstream job(run_folder / "job.yaml");
  for (std::string line; std::getline(job, line);) {
    if (line.starts_with(kNote)) return line.substr(kNote.size(), line.find(',') - kNote.size());
  }
  return "";
}

std::string hash_of_weights(const std::filesystem::path& file) {
  const SafetensorsFile read = read_safetensors(file);
  Hash128 hash;
  for (const auto& [name, tensor] : read.tensors) {  // by name, as the table has them
    const std::span<const float> values = read.floats(name);
    hash.update(values.data(), values.size_bytes());
  }
  return hash.hex();
}

}  // namespace dptrain
