// Purpose: text to a stream that may be a terminal, a file, or a pipe whose reader has gone.
// Thread safety: one user at a time. Invariants: the stream is borrowed; after the first failure nothing more is
//   written.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace dptrain {

class Output {
 public:
  explicit Output(std::FILE* stream) : stream_(stream) {}

  /// Writes and flushes; what cannot be written is dropped, because a lost line of a log is no reason to lose a run.
  void write(std::string_view text);
  /// 0, or the errno of the first failure; EPIPE where the reader has gone.
  int error() const { return error_; }
  /// True for a terminal that understands cursor movement (TERM is not "dumb").
  bool is_terminal() const;
  /// Columns of the terminal now; 80 where it does not say.
  int width() const;

 private:
  std::FILE* stream_;
  int error_ = 0;
};

/// `text` with every control byte but newline and tab replaced by '?': a file's name must not move the cursor.
std::string without_control_codes(std::string_view text);

}  // namespace dptrain
