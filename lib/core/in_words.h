// Purpose: what went wrong, for a user, where it is no Error of ours. Thread safety: pure functions.
#pragma once

#include <exception>
#include <new>
#include <string>

namespace dptrain {

/// "out of memory" where that is what it is, else the exception's own text.
inline std::string in_words(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ? "out of memory" : error.what();
}

}  // namespace dptrain
