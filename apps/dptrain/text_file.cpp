#include "dptrain/text_file.h"

#include <fstream>
#include <iterator>

namespace dptrain {

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace dptrain
