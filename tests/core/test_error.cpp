#include <doctest/doctest.h>

#include "core/error.h"
#include "core/in_words.h"

using namespace dptrain;

TEST_CASE("an error carries its message and the exit status that scripts rely on") {
  try {
    fail(ExitStatus::data, "{} of {} bytes", 3, 7);
    FAIL("fail() returned");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "3 of 7 bytes");
    CHECK(error.status() == ExitStatus::data);
  }
  CHECK(static_cast<int>(ExitStatus::ok) == 0);
  CHECK(static_cast<int>(ExitStatus::failed) == 1);
  CHECK(static_cast<int>(ExitStatus::usage) == 2);
  CHECK(static_cast<int>(ExitStatus::data) == 3);
  CHECK(static_cast<int>(ExitStatus::expectation) == 4);
  CHECK(static_cast<int>(ExitStatus::retry) == 75);
}

TEST_CASE("what is no error of ours is said in words") {
  CHECK(in_words(std::bad_alloc()) == "out of memory");
  CHECK(in_words(std::runtime_error("odd")) == "odd");
}

TEST_CASE("a broken invariant says where and what, and evaluates its condition once") {
  int evaluated = 0;
  DPTRAIN_CHECK(++evaluated == 1, "not reached");
  CHECK(evaluated == 1);
  try {
    DPTRAIN_CHECK(evaluated == 2, "evaluated is {}", evaluated);
    FAIL("the check passed");
  } catch (const Error& error) {
    const std::string what = error.what();
    CHECK(what.find("test_error.cpp:") != std::string::npos);
    CHECK(what.find("evaluated is 1") != std::string::npos);
    CHECK(error.status() == ExitStatus::failed);
  }
}
