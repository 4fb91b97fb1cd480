// For builds without libarchive.

#include "core/error.h"
#include "data/files/archive.h"

namespace dptrain {

void decompress(const std::filesystem::path& archive, const std::filesystem::path&, const DataOptions&) {
  fail(ExitStatus::data,
       "{}: this build of dptrain has no libarchive and reads plain tars alone; "
       "unpack it: xz -dk, gunzip -k or the like, and give the .tar",
       archive.string());
}

}  // namespace dptrain
