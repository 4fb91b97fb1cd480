#include <doctest/doctest.h>

#include <iterator>

#include "core/durable_file.h"
#include "support/process.h"

namespace dptrain::test {

namespace {

auto entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

}  // namespace

TEST_CASE("a staged file takes its place whole when it is published, and leaves nothing where it is not") {
  const TemporaryFolder folder;
  const fs::path file = folder / "file";
  write_text(file, "old");
  {
    StagedFile abandoned(file);
    abandoned.write("new");
  }
  CHECK(read_text(file) == "old");
  CHECK(entries(folder.path()) == 1);

  StagedFile staged(file);
  staged.write("ne");
  staged.write("w");
  CHECK(read_text(file) == "old");
  staged.publish();
  CHECK(read_text(file) == "new");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("errors have the status asked for, the path and the reason") {
  const TemporaryFolder folder;
  const fs::path nowhere = folder / "nowhere" / "file";
  const std::string message = "cannot write " + nowhere.string() + ": No such file or directory";
  try {
    const StagedFile file(nowhere, ExitStatus::data);
    FAIL_CHECK("it opened");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    CHECK(error.what() == message);
  }
  CHECK_THROWS_WITH(sync_to_disk(nowhere), message.c_str());
  CHECK_THROWS_WITH(publish(folder / "absent", nowhere), message.c_str());
}

}  // namespace dptrain::test
