#include "report/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace dptrain {

void Output::write(std::string_view text) {
  if (error_ != 0) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stream_) != text.size() || std::fflush(stream_) != 0) {
    error_ = errno != 0 ? errno : EIO;
  }
}

bool Output::is_terminal() const {
  const char* term = std::getenv("TERM");
  const int descriptor = ::fileno(stream_);
  return descriptor >= 0 && ::isatty(descriptor) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

int Output::width() const {
  winsize size{};
  const int descriptor = ::fileno(stream_);
  if (descriptor >= 0 && ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string without_control_codes(std::string_view text) {
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(), [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f; },
      '?');
  return clean;
}

}  // namespace dptrain
