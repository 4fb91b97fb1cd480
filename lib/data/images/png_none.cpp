// For builds without libpng.

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

[[noreturn]] void refuse() {
  fail(ExitStatus::data, "this build of dptrain has no libpng and reads no PNGs; convert the images to JPEG");
}

}  // namespace

ImageExtents png_extents(std::span<const std::uint8_t>) {
  refuse();
}

void decode_png(std::span<const std::uint8_t>, std::int64_t, Image&) {
  refuse();
}

}  // namespace dptrain
