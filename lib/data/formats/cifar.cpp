#include "data/formats/cifar.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "data/formats/input_file.h"

namespace dptrain {
namespace fs = std::filesystem;

const CifarFiles& cifar_files(std::int64_t classes) {
  static const CifarFiles ten{
      10,
      "cifar-10-batches-bin",
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
      {"test_batch.bin"}};
  static const CifarFiles hundred{100, "cifar-100-binary", {"train.bin"}, {"test.bin"}};
  return classes == 100 ? hundred : ten;
}

std::optional<fs::path> find_cifar(const fs::path& folder, std::int64_t classes) {
  const CifarFiles& files = cifar_files(classes);
  for (const fs::path& place : {folder, folder / files.folder}) {
    const auto there = [&](const std::string& name) { return is_there(place / name); };
    if (std::all_of(files.train.begin(), files.train.end(), there) && there(files.test.front())) return place;
  }
  return std::nullopt;
}

std::string lacking_of_cifar(const fs::path& folder) {
  for (const std::int64_t classes : {10, 100}) {
    const CifarFiles& files = cifar_files(classes);
    std::vector<std::string> all = files.train;
    all.insert(all.end(), files.test.begin(), files.test.end());
    for (const fs::path& place : {folder, folder / files.folder}) {
      if (classes == 100 && place.filename() != files.folder) continue;  // a train.bin may be of anything
      std::vector<std::string> lacking;
      for (const std::string& name : all)
        if (!is_there(place / name)) lacking.push_back(name);
      if (!lacking.empty() && lacking.size() < all.size())
        return fmt::format("{}: lacks {} of CIFAR-{}", place.string(), fmt::join(lacking, ", "), classes);
    }
  }
  return "";
}

std::vector<CifarPart> cifar_parts(const fs::path& folder, const std::vector<std::string>& names) {
  std::vector<CifarPart> parts;
  for (const std::string& name : names) {
    const auto file = std::make_shared<InputFile>(folder / name);
    const std::string path = (folder / name).string();
    parts.push_back({path, file->size(), [file, path](std::uint8_t* out) {
                       const auto bytes = static_cast<std::size_t>(file->size());
                       if (file->read(out, bytes) < bytes) fail(ExitStatus::data, "{}: has become shorter", path);
                     }});
  }
  return parts;
}

std::int64_t count_records(const CifarFiles& files, const std::vector<CifarPart>& parts) {
  const std::int64_t record = files.record_bytes();
  std::int64_t records = 0;
  for (const CifarPart& part : parts) {
    if (part.bytes == 0 || part.bytes % record != 0) {
      fail(ExitStatus::data, "{}: expected records of {} bytes, as CIFAR-{} has them; {} bytes are no number of those",
           part.name, record, files.classes, part.bytes);
    }
    records += part.bytes / record;
  }
  return records;
}

CifarSplit read_cifar(const CifarFiles& files, const std::vector<CifarPart>& parts, const StopRequest* stop) {
  const std::int64_t record = files.record_bytes();
  CifarSplit split;
  split.samples = count_records(files, parts);
  split.pixels = ByteBlock(static_cast<std::size_t>(split.samples * kCifarPixels));
  split.labels = ByteBlock(static_cast<std::size_t>(split.samples));
  std::uint8_t* pixels = split.pixels.data();
  std::uint8_t* labels = split.labels.data();
  std::vector<std::uint8_t> bytes;
  for (const CifarPart& part : parts) {
    throw_if_stopped(stop);
    bytes.resize(static_cast<std::size_t>(part.bytes));
    part.read(bytes.data());
    for (std::int64_t at = 0; at < part.bytes; at += record, pixels += kCifarPixels) {
      const std::int64_t label_at = at + record - kCifarPixels - 1;  // the one before the pixels
      const std::uint8_t label = bytes[static_cast<std::size_t>(label_at)];
      if (label >= files.classes) {
        fail(ExitStatus::data, "{}: byte {}: label {} is out of range; expected 0 to {}", part.name, label_at, label,
             files.classes - 1);
      }
      *labels++ = label;
      std::memcpy(pixels, bytes.data() + label_at + 1, kCifarPixels);
    }
  }
  return split;
}

}  // namespace dptrain
