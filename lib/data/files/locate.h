// Purpose: where the files of a dataset may lie, and which of them are there.
// Thread safety: pure functions of the file system and the environment.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "spec/descriptor.h"

namespace dptrain {

/// The four files of an image dataset in IDX.
struct IdxFiles {
  std::filesystem::path train_images, train_labels, test_images, test_labels;
};

/// A place that was looked at, and why it did not serve.
struct TriedPlace {
  std::filesystem::path folder;
  std::string why;  ///< "no such folder", "no mnist files", "lacks x, y"
};

/// `name` in `folder`, or else name + ".gz"; empty where neither is there.
std::optional<std::filesystem::path> find_plain_or_gz(const std::filesystem::path& folder, const std::string& name);

/// A described file in `folder`: plain or gzipped, an archive under its own name alone; empty where it is not there.
std::optional<std::filesystem::path> find_file(const std::filesystem::path& folder, const DescribedFile& file);

/// $XDG_CACHE_HOME or ~/.cache, then dptrain/datasets/NAME; empty where neither XDG_CACHE_HOME nor HOME is set.
std::optional<std::filesystem::path> find_cache_folder(const std::string& name);

/// The same for a download, which needs one. Errors (data): neither variable is set.
std::filesystem::path cache_folder(const std::string& name);

/// The places for the files of a named dataset, in order: `path` where given, $DPTRAIN_DATA/FOLDER, datasets/FOLDER,
/// NAME in the cache where there is one. FOLDER is the name unless the descriptor has another.
std::vector<std::filesystem::path> dataset_places(const DatasetDescriptor& descriptor,
                                                  const std::filesystem::path& path);

/// The described file that has `role`. Errors (usage): none or several, or a name that is not a plain one.
const DescribedFile& described_file(const DatasetDescriptor& descriptor, const std::string& role);

/// The first place that holds all files, or CIFAR's unpacked instead of its archive; the others are appended to
/// `tried`.
std::optional<std::filesystem::path> find_dataset(const DatasetDescriptor& descriptor,
                                                  const std::filesystem::path& path, std::vector<TriedPlace>& tried);

/// The files of a descriptor in a folder that holds them all.
IdxFiles described_files(const DatasetDescriptor& descriptor, const std::filesystem::path& folder);

/// Whether at least one file lies in a folder under MNIST's names, see below.
bool holds_idx(const std::filesystem::path& folder);

/// The files in a folder under MNIST's names (train-images-idx3-ubyte, t10k-labels-idx1-ubyte, ...; a dot may stand
/// before idx), plain or .gz. Errors (data): the folder or a file is missing; the message lists what was expected.
IdxFiles standard_files(const std::filesystem::path& folder);

}  // namespace dptrain
