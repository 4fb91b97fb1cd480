// Purpose: the weights that a run begins with. A run whose first weights are a file's (--init-from) and not the seed's
//   says so in its job.yaml, and keeps them as checkpoints/step-0. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "data/dataset.h"
#include "interop/safetensors.h"
#include "nn/parameters.h"

namespace dptrain {

/// The seed's weights into a zeroed flat buffer; where a layer whitens (`init: whiten`), also of the training images:
/// of as many, drawn by some_samples() and not augmented, as have a million patches. The same bits for every process
/// and number of replicas.
/// Errors: those of reading the images.
void seed_weights(const ParameterTable& table, std::uint64_t seed, const Dataset& train, float* flat);

/// The note for job.yaml, a comment with its newline. `hash` is that of the weights; empty: the seed's, and no note.
std::string first_weights_note(const std::string& hash);
/// The hash that job.yaml in the run's folder notes; empty where there is no note.
std::string noted_first_weights(const std::filesystem::path& run_folder);
/// The tensors of the file that --init-from names, all of them in F32. Errors: usage where it is anything else.
SafetensorsFile read_first_weights(const std::filesystem::path& file);
/// What ParameterTable::hash() is for a model that has the tensors of that file. Errors: likewise.
std::string hash_of_weights(const std::filesystem::path& file);

}  // namespace dptrain
