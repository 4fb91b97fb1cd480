// Purpose: a dataset descriptor, datasets/NAME.yaml: what files make up a dataset, where they come from, how to check
//   them.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/shape.h"
#include "spec/job_spec.h"

namespace dptrain {

/// One file. `name` is its plain name; a copy may also lie there gzipped under name + ".gz". Hash and size are of the
/// uncompressed bytes, because mirrors compress differently. An archive has one form: name, size and hash are those of
/// the file.
struct DescribedFile {
  std::string role;  ///< "train_images", "train_labels", "test_images", "test_labels"; or "archive"
  std::string name;
  std::int64_t bytes = 0;  ///< uncompressed
  std::string sha256;      ///< of the uncompressed bytes, 64 hexadecimal digits

  bool is_archive() const { return role == "archive"; }
};

struct DatasetDescriptor {
  std::string name;
  std::string title;  ///< one line for `dptrain data list`
  DatasetFormat format = DatasetFormat::idx;
  Shape shape;  ///< one sample
  std::int64_t classes = 0;
  std::int64_t train_samples = 0, test_samples = 0;
  std::vector<float> mean, std;  ///< one per channel, of values scaled to [0, 1]
  std::vector<std::string>
      mirrors;  ///< base URLs, tried in order; a file is fetched as mirror + name + ".gz", or an archive
                ///< as mirror + name
  std::vector<DescribedFile> files;  ///< empty for generated datasets
  std::string folder;            ///< where in $DPTRAIN_DATA and datasets/ the files lie; its name, unless it says so
  std::filesystem::path source;  ///< the descriptor's own path
};

/// Throws Error(ExitStatus::usage) in the manner of read_job.
DatasetDescriptor read_descriptor(const std::filesystem::path& file);

}  // namespace dptrain
