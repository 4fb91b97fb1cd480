// Purpose: what runs that fail say. Thread safety: pure functions.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "core/error.h"

namespace dptrain::test {

/// The message of the Error that `run` must throw, with this status.
template <class Run>
std::string failure(ExitStatus status, const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("no error");
  return {};
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dptrain::test
