// Purpose: where something stands in a job spec, kept by what was read so that later complaints can show it.
// Thread safety: a value.
#pragma once

#include <string>

namespace dptrain {

/// Where in a spec something stands; line and column start at 1; 0: not in a file (the command line, a default).
struct SourceMark {
  std::string file;  ///< path as given, or the argument of the command line: "--set train.steps=5"
  int line = 0;
  int column = 0;
  std::string excerpt;  ///< the line and a caret below the column, ready to print: complaints need no file

  /// Marks say where a value came from and are no part of it: specs that say the same are equal.
  bool operator==(const SourceMark&) const { return true; }
};

}  // namespace dptrain
