#include "dptrain/data_command.h"

#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include <iostream>
#include <limits>
#include <ostream>
#include <utility>

#include "core/error.h"
#include "data/descriptors.h"
#include "data/files/fetch.h"
#include "data/files/locate.h"
#include "data/files/sha256.h"
#include "data/files/verify.h"
#include "data/formats/cifar.h"
#include "data/formats/idx.h"
#include "data/image_dataset.h"
#include "data/open/cifar.h"
#include "data/open/images.h"
#include "data/open/open.h"
#include "dptrain/job_data.h"
#include "dptrain/signals.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

constexpr int kFine = static_cast<int>(ExitStatus::ok);
constexpr int kBad = static_cast<int>(ExitStatus::data);

void print_info(const DatasetInfo& info, std::ostream& out) {
  fmt::print(out, "name      {}\n", info.name);
  fmt::print(out, "samples   {} to train, {} to test\n", info.train_samples, info.test_samples);
  fmt::print(out, "shape     {}, {} classes\n", info.shape.text(), info.classes);
}

int info_of_folder(const fs::path& folder, const DataOptions& options, std::ostream& out) {
  DatasetSpec spec;
  spec.format = DatasetFormat::idx;
  spec.path = folder;
  open_dataset(spec, options);  // every check that training would make
  print_info(inspect_dataset(spec, options), out);
  const IdxFiles files = standard_files(folder);
  const IdxArray images = read_idx(files.train_images, 3, options.stop);
  const Normalisation measured = measure_normalisation(images.values.span(), files.train_images.string());
  fmt::print(out, "mean      {:.4f}, std {:.4f} (computed from the training images)\n", measured.mean[0],
             measured.std[0]);
  const std::pair<fs::path, int> ranks[] = {
      {files.train_images, 3}, {files.train_labels, 1}, {files.test_images, 3}, {files.test_labels, 1}};
  for (const auto& [file, rank] : ranks) {
    const FileDigest digest = digest_file(file, read_idx_header(file, rank).file_bytes(), options.stop);
    fmt::print(out, "file      {}: {} bytes, SHA-256 {}\n", file.string(), digest.bytes, digest.sha256);
  }
  return kFine;
}

/// Whether CIFAR's files are there, or some of them.
bool is_cifar(const fs::path& folder) {
  return find_cifar(folder, 10) || find_cifar(folder, 100) || !lacking_of_cifar(folder).empty();
}

/// What a descriptor of it would say.
int info_of_images(const fs::path& path, const DataOptions& options, std::ostream& out) {
  DatasetSpec spec;
  spec.path = path;
  spec.format = DatasetFormat::image_folder;
  std::error_code ignored;
  if (is_cifar(path)) {
    spec.format = DatasetFormat::cifar;
  } else if (fs::is_regular_file(path, ignored)) {
    spec.format = DatasetFormat::image_tar;
  }
  const DatasetInfo info = inspect_dataset(spec, options);
  print_info(info, out);
  const Normalisation measured = spec.format == DatasetFormat::cifar
                                     ? measure_cifar_folder(spec, options)
                                     : measure_training_images(spec, *info.files, options.stop);
  fmt::print(out, "mean      {:.4f}, std {:.4f} (computed from the training images)\n", fmt::join(measured.mean, " "),
             fmt::join(measured.std, " "));
  if (spec.format != DatasetFormat::image_tar) return kFine;
  const FileDigest digest = digest_as_it_is(path, std::numeric_limits<std::int64_t>::max(), options.stop);
  fmt::print(out, "file      {}: {} bytes, SHA-256 {}\n", path.string(), digest.bytes, digest.sha256);
  return kFine;
}

int info_of_files(const DatasetDescriptor& descriptor, const DataOptions& options, std::ostream& out) {
  std::vector<TriedPlace> tried;
  const auto folder = find_dataset(descriptor, {}, tried);
  if (!folder) {
    for (const TriedPlace& place : tried) fmt::print(out, "not in    {}: {}\n", place.folder.string(), place.why);
    fmt::print(out, "`dptrain data fetch {}` downloads it\n", descriptor.name);
    return kBad;
  }
  fmt::print(out, "found in  {}\n", folder->string());
  int status = kFine;
  for (const DescribedFile& file : descriptor.files) {
    const auto there = find_file(*folder, file);
    if (!there) {
      fmt::print(out, "file      {}: not there, but what it holds is, unpacked\n", file.name);
      continue;
    }
    const fs::path& path = *there;
    const std::string problem = mismatch(path, file, options.stop);
    if (!problem.empty()) status = kBad;
    const std::string verdict =
        problem.empty() ? fmt::format("{} bytes, SHA-256 as described", file.bytes) : fmt::format("WRONG: {}", problem);
    fmt::print(out, "file      {}: {}\n", path.filename().string(), verdict);
  }
  return status;
}

int list(std::ostream& out) {
  for (const DatasetDescriptor& descriptor : list_descriptors()) {
    std::string where = "generated";
    if (descriptor.format != DatasetFormat::generated) {
      std::vector<TriedPlace> tried;
      const auto folder = find_dataset(descriptor, {}, tried);
      where = folder ? "in " + folder->string() : "not on this machine";
    }
    fmt::print(out, "{:<12} {} ({})\n", descriptor.name, descriptor.title, where);
  }
  return kFine;
}

DatasetDescriptor named_dataset(const std::string& name) {
  try {
    return find_descriptor(name);
  } catch (const UnknownDataset&) {
    std::error_code ignored;
    if (!fs::exists(name, ignored)) throw;
    throw UnknownDataset(fmt::format("unknown dataset '{0}'; write ./{0} for the file or folder", name));
  }
}

/// Whether images lie there by split and class, perhaps with one folder around them all.
bool has_train_folder(const fs::path& folder) {
  std::error_code error, ignored;
  if (fs::is_directory(folder / "train", ignored)) return true;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (fs::is_directory(entry->path() / "train", ignored)) return true;
  return false;
}

int info(const std::string& dataset, const DataOptions& options, std::ostream& out) {
  if (dataset.find('/') != std::string::npos) {
    std::error_code ignored;  // what cannot be looked at is so when it is opened
    const bool holds_images = fs::is_regular_file(dataset, ignored) || has_train_folder(dataset) || is_cifar(dataset);
    if (!holds_images && fs::is_directory(dataset, ignored) && !holds_idx(dataset)) {
      fail(ExitStatus::data,
           "{}: holds none of the formats that are read: train/CLASS/ and test/CLASS/ with images, CIFAR's .bin files, "
           "or train-images-idx3-ubyte and its three companions; a tar of images is given by its own path",
           dataset);
    }
    return holds_images ? info_of_images(dataset, options, out) : info_of_folder(dataset, options, out);
  }
  const DatasetDescriptor descriptor = named_dataset(dataset);
  DatasetSpec spec;
  spec.name = dataset;
  fmt::print(out, "title     {}\n", descriptor.title);
  print_info(inspect_dataset(spec, options), out);
  fmt::print(out, "mean      {:.4f}, std {:.4f} (from the descriptor)\n", fmt::join(descriptor.mean, " "),
             fmt::join(descriptor.std, " "));
  fmt::print(out, "described {}\n", descriptor.source.string());
  if (descriptor.format != DatasetFormat::generated) return info_of_files(descriptor, options, out);
  fmt::print(out, "found in  nowhere: generated, as many samples as asked for\n");
  return kFine;
}

int fetch(const std::string& dataset, const DataOptions& options, std::ostream& out) {
  fmt::print(out, "{}\n", fetch_dataset(find_descriptor(dataset), options).string());
  return kFine;
}

}  // namespace

const CLI::App* add_data(CLI::App& app, DataCommand& command) {
  CLI::App* added = app.add_subcommand("data", "list, inspect or download datasets");
  added->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, DataCommand::What what) {
    CLI::App* one = added->add_subcommand(name, help);
    one->callback([&command, what] { command.what = what; });
    return one;
  };
  using What = DataCommand::What;
  add("list", "the datasets with a descriptor, and whether they are on this machine", What::list);
  add("info", "counts, shape and hashes of a dataset", What::info)
      ->add_option("DATASET", command.dataset, "a name, or a folder or tar (with a '/')")
      ->required();
  CLI::App* fetch = add("fetch", "check a dataset where it is, or download it into the cache", What::fetch);
  fetch->add_option("NAME", command.dataset, "see `dptrain data list`")->required();
  fetch->add_flag("--offline", command.offline, "download nothing");
  return added;
}

int look_after_data(const DataCommand& command, std::ostream& out) {
  if (command.what == DataCommand::What::list) return list(out);
  return stoppable([&](const StopRequest& stop) {
    const DataOptions options = data_options({}, stop, command.offline);
    return command.what == DataCommand::What::info ? info(command.dataset, options, out)
                                                   : fetch(command.dataset, options, out);
  });
}

}  // namespace dptrain
