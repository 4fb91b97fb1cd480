#include "data/open/cifar.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "data/files/archive.h"
#include "data/files/locate.h"
#include "data/formats/cifar.h"
#include "data/formats/tar.h"
#include "data/open/choices.h"
#include "data/open/in_memory.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

const Shape kShape{3, 32, 32};

/// One of the two, and the folder that has its files.
struct Found {
  const CifarFiles& files;
  fs::path folder;
};
Found cifar_folder(const DatasetSpec& spec) {
  const auto ten = find_cifar(spec.path, 10), hundred = find_cifar(spec.path, 100);
  if (ten && hundred) {
    fail(ExitStatus::data, "{}: holds CIFAR-10 and CIFAR-100; expected one of them, as in {} or {}", spec.path.string(),
         ten->string(), hundred->string());
  }
  if (ten) return {cifar_files(10), *ten};
  if (hundred) return {cifar_files(100), *hundred};
  if (const std::string lacking = lacking_of_cifar(spec.path); !lacking.empty()) fail(ExitStatus::data, "{}", lacking);
  fail(ExitStatus::data,
       "{}: expected data_batch_1.bin to data_batch_5.bin and test_batch.bin (CIFAR-10), or train.bin and test.bin "
       "(CIFAR-100); found neither",
       spec.path.string());
}

/// The parts that have exactly these names in the archive.
std::vector<CifarPart> archived_parts(const std::shared_ptr<const TarFile>& tar, const CifarFiles& files,
                                      const std::vector<std::string>& names) {
  std::vector<CifarPart> parts;
  const auto& members = tar->members();
  for (const std::string& name : names) {
    const std::string wanted = fmt::format("{}/{}", files.folder, name);
    const auto at = std::lower_bound(members.begin(), members.end(), wanted,
                                     [](const TarMember& member, const std::string& key) { return member.name < key; });
    if (at == members.end() || at->name != wanted)
      fail(ExitStatus::data, "{}: has no member '{}'", tar->path().string(), wanted);
    parts.push_back({fmt::format("{}: member '{}'", tar->path().string(), wanted), at->bytes,
                     [tar, member = *at](std::uint8_t* out) { tar->read(member, out); }});
  }
  return parts;
}

DatasetPair make_pair(const DatasetSpec& spec, CifarSplit train, CifarSplit test, std::int64_t classes,
                      const Normalisation& normalisation) {
  const auto split = [](CifarSplit& from) {
    return SplitBytes{std::move(from.pixels), std::move(from.labels), from.samples};
  };
  return pair_in_memory(spec, split(train), split(test), kShape, classes, normalisation);
}

/// `first` is for messages.
Normalisation measured(const CifarSplit& train, const fs::path& first) {
  ChannelSums sums(3);
  sums.add(train.pixels.span().first(static_cast<std::size_t>(train.samples * kCifarPixels)), kCifarPixels / 3);
  return sums.normalisation(first.string());
}

}  // namespace

DatasetInfo inspect_cifar_folder(const DatasetSpec& spec) {
  const auto [files, folder] = cifar_folder(spec);
  return {spec.path.string(), augmented_shape(spec, kShape), files.classes,
          count_records(files, cifar_parts(folder, files.train)),
          count_records(files, cifar_parts(folder, files.test))};
}

DatasetPair open_cifar_folder(const DatasetSpec& spec, const DataOptions& options) {
  const auto [files, folder] = cifar_folder(spec);
  CifarSplit train = read_cifar(files, cifar_parts(folder, files.train), options.stop);
  CifarSplit test = read_cifar(files, cifar_parts(folder, files.test), options.stop);
  const Normalisation normalisation = measured(train, folder / files.train.front());
  DatasetPair pair = make_pair(spec, std::move(train), std::move(test), files.classes, normalisation);
  pair.name = pair.location = spec.path.string();
  return pair;
}

Normalisation measure_cifar_folder(const DatasetSpec& spec, const DataOptions& options) {
  const auto [files, folder] = cifar_folder(spec);
  read_cifar(files, cifar_parts(folder, files.test), options.stop);
  return measured(read_cifar(files, cifar_parts(folder, files.train), options.stop), folder / files.train.front());
}

DatasetPair open_described_cifar(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const fs::path& folder,
                                 const DataOptions& options) {
  const CifarFiles& files = cifar_files(descriptor.classes);
  const auto unpacked = find_cifar(folder, descriptor.classes);
  CifarSplit train, test;
  std::string where;
  if (unpacked) {
    where = unpacked->string();
    train = read_cifar(files, cifar_parts(*unpacked, files.train), options.stop);
    test = read_cifar(files, cifar_parts(*unpacked, files.test), options.stop);
  } else {
    const DescribedFile& file = described_file(descriptor, "archive");
    const fs::path plain = plain_tar(folder / file.name, descriptor.name, &file, options);
    const auto tar = std::make_shared<const TarFile>(plain, TarFile::Skip{}, options.stop);
    where = plain.string();
    train = read_cifar(files, archived_parts(tar, files, files.train), options.stop);
    test = read_cifar(files, archived_parts(tar, files, files.test), options.stop);
  }
  if (train.samples != descriptor.train_samples || test.samples != descriptor.test_samples) {
    fail(ExitStatus::data, "{}: expected {} + {} samples, as {} says, found {} + {}", where, descriptor.train_samples,
         descriptor.test_samples, descriptor.source.string(), train.samples, test.samples);
  }
  DatasetPair pair =
      make_pair(spec, std::move(train), std::move(test), descriptor.classes, {descriptor.mean, descriptor.std});
  pair.name = descriptor.name;
  pair.location = folder.string();
  return pair;
}

}  // namespace dptrain
