#include "spec/source_file.h"

#include <cerrno>
#include <fstream>
#include <system_error>

#include "core/error.h"
#include "spec/tree.h"

namespace dptrain {

std::string read_source_file(const std::filesystem::path& file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) {
    fail(ExitStatus::usage, "{}: error: is a folder\n  hint: give the YAML file itself", file.string());
  }
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  std::string text(TreeLimits::bytes + 1, '\0');
  if (stream) stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad()) {
    const std::string why = errno != 0 ? std::generic_category().message(errno) : "not readable";
    fail(ExitStatus::usage, "{}: error: cannot read it: {}\n  hint: check the path", file.string(), why);
  }
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

Source source_of_file(std::string& text, const std::filesystem::path& file) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.starts_with(byte_order_mark)) text.erase(0, byte_order_mark.size());
  return Source::of(file.string(), text, false);
}

}  // namespace dptrain
