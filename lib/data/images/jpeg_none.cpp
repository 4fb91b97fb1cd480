// For builds without libjpeg-turbo.

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

[[noreturn]] void refuse() {
  fail(ExitStatus::data, "this build of dptrain has no libjpeg-turbo and reads no JPEGs; convert the images to PNG");
}

}  // namespace

ImageExtents jpeg_extents(std::span<const std::uint8_t>) {
  refuse();
}

void decode_jpeg(std::span<const std::uint8_t>, std::int64_t, ImageExtents, Image&) {
  refuse();
}

}  // namespace dptrain
