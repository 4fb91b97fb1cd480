// What the tests of image datasets share: a small set of pictures, as a folder and as tars.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/data_files.h"
#include "data/open/open.h"
#include "support/image_bytes.h"
#include "support/tar_bytes.h"

namespace dptrain::test {

/// name -> bytes: 3 classes, 4 + 2 images of 12 x 10 each, JPEG and PNG.
inline std::map<std::string, std::string> small_set() {
  std::map<std::string, std::string> files;
  const char* const classes[] = {"ant", "bee", "cat"};
  for (int label = 0; label < 3; ++label) {
    for (int k = 0; k < 6; ++k) {
      const Picture picture = make_picture(static_cast<std::uint64_t>(10 * label + k), label, 12, 10);
      const std::string name = std::string(k < 4 ? "train/" : "test/") + classes[label] + "/" + std::to_string(k);
      if (k % 2 == 0) {
        files[name + ".jpg"] = jpeg(picture, {.quality = 95});
      } else {
        files[name + ".PNG"] = png(picture);
      }
    }
  }
  files["README"] = "no image";
  files["train/labels.csv"] = "neither";
  return files;
}

inline std::string tar_of(const std::map<std::string, std::string>& files, const std::string& around = "") {
  TarBytes tar;
  for (const auto& [name, data] : files) tar.add(around + name, data);
  return tar.whole();
}

inline void put_files(const fs::path& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [name, data] : files) put(folder / name, data);
}

/// Compressed by libarchive: "xz", "gzip", "zstd", ...
inline std::string compressed(const std::string& bytes, const char* filter) {
  std::string out(bytes.size() + (1 << 20), '\0');
  std::size_t used = 0;
  struct archive* writer = archive_write_new();
  archive_write_set_format_raw(writer);
  archive_write_add_filter_by_name(writer, filter);
  archive_write_open_memory(writer, out.data(), out.size(), &used);
  struct archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_pathname(entry, "data");
  archive_write_header(writer, entry);
  archive_write_data(writer, bytes.data(), bytes.size());
  archive_entry_free(entry);
  archive_write_close(writer);
  archive_write_free(writer);
  out.resize(used);
  return out;
}

inline DatasetSpec images_at(DatasetFormat format, const fs::path& path) {
  DatasetSpec spec;
  spec.format = format;
  spec.path = path;
  return spec;
}

/// All samples of a split as evaluation sees them, labels behind them.
inline std::vector<float> all_of(const Dataset& dataset) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(dataset.size()));
  for (std::size_t k = 0; k < ids.size(); ++k) ids[k] = static_cast<std::int64_t>(k);
  std::vector<float> out(ids.size() * static_cast<std::size_t>(dataset.shape().elements()));
  std::vector<std::int32_t> labels(ids.size());
  dataset.gather(ids, out.data(), labels.data());
  out.insert(out.end(), labels.begin(), labels.end());
  return out;
}

/// The message that a call is refused with, which must be of this status.
template <class Call>
std::string refused(ExitStatus status, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.status() == status ? error.what() : std::string("another status: ") + error.what();
  }
  return "not refused";
}

}  // namespace dptrain::test
