// Purpose: finds the descriptors of datasets, datasets/NAME.yaml.
// Thread safety: pure functions of the file system and the environment.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "spec/descriptor.h"

namespace dptrain {

/// Folders with descriptors, in order: $DPTRAIN_DATASETS; then share/dptrain/datasets beside an installed
/// executable's bin/ or, where that is not there, the source tree's datasets/.
/// Errors (usage): $DPTRAIN_DATASETS is no folder.
std::vector<std::filesystem::path> descriptor_folders();
/// All descriptors, by name. Errors: a bad descriptor (usage).
std::vector<DatasetDescriptor> list_descriptors();
/// What find_descriptor throws for a name that no folder has; the message has the nearest one, or all.
class UnknownDataset : public Error {
 public:
  explicit UnknownDataset(const std::string& message) : Error(ExitStatus::usage, message) {}
};
/// Errors: UnknownDataset; a bad descriptor (usage).
DatasetDescriptor find_descriptor(const std::string& name);

}  // namespace dptrain
