// Purpose: what is known of a dataset before its samples are read. Thread safety: a value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/shape.h"

namespace dptrain {

struct ImageFilesPair;

struct DatasetInfo {
  std::string name;
  Shape shape;  ///< the model's: what augmentation puts out
  std::int64_t classes = 0, train_samples = 0, test_samples = 0;
  /// Of a folder or a tar of images that is given by its path: what is in it, so that it is not listed again. Null
  /// otherwise.
  std::shared_ptr<const ImageFilesPair> files = nullptr;
};

}  // namespace dptrain
