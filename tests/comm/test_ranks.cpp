// The communicator between processes that mpirun starts: tests/comm/ranks.cpp.
#include <doctest/doctest.h>

#include "support/process.h"

namespace dptrain::test {

namespace {

Finished ranks(int count, const std::string& shared, const std::vector<std::string>& arguments = {},
               const std::vector<std::string>& settings = {}) {
  std::vector<std::string> command = {
      "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
      "-np",    std::to_string(count)};
  command.insert(command.end(), settings.begin(), settings.end());
  command.push_back(DPTRAIN_RANKS);
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run(command, {.folder = fs::temp_directory_path(), .environment = {{"DPTRAIN_SHARED_MEMORY", shared}}});
}

bool is_mpirun_there() {
  const bool there = run({"mpirun", "--allow-run-as-root", "--version"}, {}).status == 0;
  if (!there) MESSAGE("skipped: there is no mpirun (openmpi-bin)");
  return there;
}

}  // namespace

TEST_CASE("ranks: gather, share memory, exchange messages") {
  if (!is_mpirun_there()) return;
  for (const std::string shared : {"on", "off"}) {
    for (const int count : {2, 3, 5}) {
      CAPTURE(count);
      CAPTURE(shared);
      const Finished finished = ranks(count, shared);
      INFO(finished.err);
      CHECK(finished.status == 0);
    }
  }
}

TEST_CASE("ranks: a message arrives though its sender makes no further call of MPI") {
  if (!is_mpirun_there()) return;
  // The system takes a few kilobytes at a time, and the last piece stays with MPI.
  const Finished finished =
      ranks(3, "off", {"leave"}, {"--mca", "btl", "tcp,self", "--mca", "btl_tcp_sndbuf", "4096"});
  INFO(finished.err);
  CHECK(finished.status == 0);
}

TEST_CASE("ranks: one that fails is named to all, with its status") {
  if (!is_mpirun_there()) return;
  for (const std::string shared : {"on", "off"}) {
    const Finished finished = ranks(3, shared, {"fail"});
    INFO(finished.err);
    CHECK(finished.status == 3);
    CHECK(finished.err.find(": out of luck") != std::string::npos);
    CHECK(finished.err.find("not so") == std::string::npos);
  }
}

TEST_CASE("ranks: one that is stopped at the very end does not keep the others, and is named") {
  if (!is_mpirun_there()) return;
  // Of a first rank mpirun itself may not get over the end, though none of its processes is left.
  const Finished finished = ranks(3, "on", {"stop", "2"});
  INFO(finished.err);
  CHECK(finished.status == 75);
  CHECK(finished.err.find("rank 2 on ") != std::string::npos);
  CHECK(finished.err.find("has been silent") != std::string::npos);
}

}  // namespace dptrain::test
