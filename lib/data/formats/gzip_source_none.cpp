#include "data/formats/gzip_source.h"
#include "data/formats/input_file.h"

namespace dptrain {

std::unique_ptr<ByteSource> open_gzip(const std::filesystem::path& path, const StopRequest*) {
  const InputFile file(path);  // a file that is not there is the smaller trouble
  fail(ExitStatus::data, "{}: this build of dptrain has no zlib and reads no gzipped files; unpack it: gunzip -k {}",
       path.string(), path.string());
}

}  // namespace dptrain
