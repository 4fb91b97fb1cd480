// Purpose: encoded images by index, in a folder or in a tar, with their labels. Thread safety: const methods from any
//   number of threads at once. Invariants: the order is a function of the names alone, so a folder and a tar of it give
//   the same ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dptrain {

/// A file above this is no photograph.
inline constexpr std::int64_t kMostFileBytes = std::int64_t{1} << 28;

class ImageFiles {
 public:
  virtual ~ImageFiles() = default;
  virtual std::int64_t size() const = 0;
  virtual std::int32_t label(std::int64_t id) const = 0;
  /// "data.tar: train/cat/1.jpg" or "data/train/cat/1.jpg"; control characters are shown as '?'.
  virtual std::string name(std::int64_t id) const = 0;
  /// The whole file into `out`. Errors (data), with its name: unreadable, not a regular file, above kMostFileBytes;
  /// ReadFailed.
  virtual void read(std::int64_t id, std::vector<std::uint8_t>& out) const = 0;
};

/// Both splits of a folder or a tar of images.
struct ImageFilesPair {
  std::shared_ptr<const ImageFiles> train, test;
  std::vector<std::string> classes;   ///< sorted; a label is an index
  std::int64_t others = 0;            ///< files that are no samples
  std::vector<std::string> left_out;  ///< a line for each member that is no regular file
};

/// For messages: names come from files of strangers.
std::string shown(std::string name);

/// Which of `names` ("train/cat/1.jpg", sorted, each once) are samples of which split and class.
struct ClassFolders {
  struct Split {
    std::vector<std::uint32_t> entries;  ///< indices into names
    std::vector<std::int32_t> labels;
  };
  Split train, test;
  std::vector<std::string> classes;  ///< sorted; a label is an index
  std::int64_t others = 0;           ///< files that are no samples
};

/// Samples are the .jpg, .jpeg and .png below train/CLASS/ and below test/CLASS/, or else val/, valid/ or validation/;
/// one folder may be around them all. Within a split the first of each class come first, then the second, and so on, so
/// that the first N are of all classes. `where` is for messages. Errors (data): no train folder or no test folder, a
/// class without training samples, fewer than two classes.
ClassFolders find_classes(const std::vector<std::string>& names, const std::string& where);

}  // namespace dptrain
