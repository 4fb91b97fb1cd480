// Purpose: what a spec must be as text, before and beside being YAML. Each function complains about the first
//   violation.
// Thread safety: pure functions.
#pragma once

#include <string>

#include "spec/diagnostics.h"

namespace dptrain {

bool is_utf8(const std::string& text);

/// UTF-8 without NUL, control characters or lone carriage returns. Nothing of the lines is printed: they may hold
/// anything.
bool is_text(const std::string& text, const Source& source, Diagnostics& diagnostics);

/// A `%` directive, which can only stand before the document; the parser would swallow it.
bool has_directive(const Source& source, Diagnostics& diagnostics);

/// A line longer than complaints can show at a bounded cost.
bool has_long_line(const Source& source, Diagnostics& diagnostics);

}  // namespace dptrain
