#include "train/checkpoint/first_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "core/hash.h"
#include "data/sampler.h"
#include "interop/safetensors.h"
#include "nn/whitening.h"

namespace dptrain {

namespace {

constexpr std::string_view kNote = "# First weights: ";

/// The filters of a first layer that whitens, over those that it has from the seed.
void whiten(const ParameterTable& table, const Parameter& weight, const Dataset& train, float* flat) {
  constexpr std::int64_t kPatches = 1 << 20;
  const Shape& shape = weight.desc.shape;  // (out, C, kh, kw)
  PatchWhitening whitening(train.shape(), shape[2], shape[3]);
  const std::int64_t images = std::clamp<std::int64_t>(kPatches / whitening.patches_per_image(), 1, train.size());
  std::vector<float> image(static_cast<std::size_t>(train.shape().elements()));
  for (const std::int64_t id : some_samples(train.size(), images)) {
    std::int32_t label = 0;
    train.gather({&id, 1}, image.data(), &label);
    whitening.add(image.data());
  }
  const std::vector<float> filters = whitening.filters();
  std::vector<float> values = table.canonical(weight, flat);
  std::copy_n(filters.begin(), std::min(filters.size(), values.size()), values.begin());
  table.set_canonical(weight, values.data(), flat);
}

}  // namespace

void seed_weights(const ParameterTable& table, std::uint64_t seed, const Dataset& train, float* flat) {
  table.initialise(seed, flat);
  for (const Parameter& p : table.all()) {
    if (p.desc.init == Initialiser::whiten && p.desc.role == ParameterRole::weight) whiten(table, p, train, flat);
  }
}

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

SafetensorsFile read_first_weights(const std::filesystem::path& file) {
  try {
    SafetensorsFile read = read_safetensors(file);
    for (const auto& [name, tensor] : read.tensors) static_cast<void>(read.floats(name));
    return read;
  } catch (const Error& error) {  // here it is no damage of ours, but what the command line names
    fail(ExitStatus::usage, "--init-from {}. It takes a safetensors file with the model's tensors in F32.",
         error.what());
  }
}

std::string hash_of_weights(const std::filesystem::path& file) {
  const SafetensorsFile read = read_first_weights(file);
  Hash128 hash;
  for (const auto& [name, tensor] : read.tensors) {  // by name, as the table has them
    const std::span<const float> values = read.floats(name);
    hash.update(values.data(), values.size_bytes());
  }
  return hash.hex();
}

}  // namespace dptrain
