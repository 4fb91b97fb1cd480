#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cctype>
#include <csignal>

#include "core/durable_file.h"
#include "core/error.h"
#include "report/run_folder.h"
#include "report/samples.h"

using namespace dptrain;
using namespace dptrain::test;
namespace fs = std::filesystem;

namespace {

/// Checks that `action` ends with an Error of this status whose message holds `part`.
template <class Action>
void check_refused(ExitStatus status, const std::string& part, const Action& action) {
  try {
    action();
    FAIL_CHECK("no error, expected: " << part);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

void complete_run(const fs::path& out, const std::string& job) {
  RunFolder folder({.out = out}, "mnist");
  folder.begin(job);
  folder.append_metrics("{}");
  folder.write_summary("{\"old\": true}");
}

}  // namespace

TEST_CASE("the default folder is named by job and time, and two runs of one second get two") {
  TemporaryFolder temporary;
  const RunFolderOptions options{.runs = temporary.path() / "runs"};
  RunFolder first(options, "mnist"), second(options, "mnist"), third(options, "mnist");
  CHECK(first.path() != second.path());
  CHECK(second.path() != third.path());
  CHECK(first.path() != third.path());
  CHECK(first.path().parent_path() == temporary.path() / "runs" / "mnist");
  std::string form = first.path().filename().string();
  for (char& c : form) c = std::isdigit(static_cast<unsigned char>(c)) ? '0' : c;
  CHECK(form == "0000-00-00T00-00-00Z");
}

TEST_CASE("--out is the run folder itself; parents are made") {
  TemporaryFolder temporary;
  for (const fs::path& out : {temporary.path() / "a" / "b", temporary.path() / "c" / ""}) {
    RunFolder folder({.out = out}, "mnist");
    folder.begin("name: x\n");
    CHECK(fs::is_regular_file(out / "job.yaml"));
    CHECK(read_text(out / "metrics.jsonl").empty());
    CHECK_FALSE(fs::exists(out / "summary.json"));
  }
}

TEST_CASE("metrics are in the file as soon as they are written") {
  TemporaryFolder temporary;
  RunFolder folder({.out = temporary.path()}, "mnist");
  folder.begin("");
  folder.append_metrics("{\"a\":1}");
  folder.append_metrics("{\"a\":2}");
  CHECK(read_text(temporary.path() / "metrics.jsonl") == "{\"a\":1}\n{\"a\":2}\n");
}

TEST_CASE("resume: the metrics go on, half a line is cut off, and the summary that was true before goes") {
  TemporaryFolder temporary;
  CHECK_FALSE(RunFolder({.out = temporary.path() / "none", .resume = true}, "mnist").continues());
  complete_run(temporary.path(), "name: old\n");
  std::ofstream(temporary.path() / "metrics.jsonl", std::ios::app) << "{\"half";
  RunFolder folder({.out = temporary.path(), .resume = true}, "mnist");
  CHECK(folder.continues());
  CHECK(fs::exists(temporary.path() / "summary.json"));
  folder.begin("name: new\n");
  folder.append_metrics("{}");
  CHECK_FALSE(fs::exists(temporary.path() / "summary.json"));
  CHECK(read_text(temporary.path() / "metrics.jsonl") == "{}\n{}\n");
  CHECK(read_text(temporary.path() / "job.yaml").ends_with("\nname: new\n"));
}

TEST_CASE("an existing run is refused, and --fresh replaces the files of the run alone") {
  TemporaryFolder temporary;
  complete_run(temporary.path(), "name: old\n");
  write_text(temporary.path() / "notes.txt", "mine");
  check_refused(ExitStatus::usage, "holds a run; choose another --out, or give --resume to go on with it, or --fresh",
                [&] { RunFolder({.out = temporary.path()}, "mnist"); });
  CHECK(read_text(temporary.path() / "summary.json") == "{\"old\": true}\n");

  RunFolder folder({.out = temporary.path(), .fresh = true}, "mnist");
  CHECK(fs::exists(temporary.path() / "summary.json"));  // nothing is removed before the run begins
  folder.begin("name: new\n");
  CHECK_FALSE(fs::exists(temporary.path() / "summary.json"));
  CHECK(read_text(temporary.path() / "metrics.jsonl").empty());
  CHECK(read_text(temporary.path() / "job.yaml").ends_with("\nname: new\n"));
  CHECK(read_text(temporary.path() / "notes.txt") == "mine");
}

TEST_CASE("a run that fails before it begins leaves the earlier run, and no empty folder") {
  TemporaryFolder temporary;
  complete_run(temporary.path() / "run", "name: old\n");
  { RunFolder folder({.out = temporary.path() / "run", .fresh = true}, "mnist"); }
  CHECK(read_text(temporary.path() / "run" / "summary.json") == "{\"old\": true}\n");
  { RunFolder folder({.out = temporary.path() / "new"}, "mnist"); }
  CHECK_FALSE(fs::exists(temporary.path() / "new"));
  fs::create_directory(temporary.path() / "there_before");
  { RunFolder folder({.out = temporary.path() / "there_before"}, "mnist"); }
  CHECK(fs::exists(temporary.path() / "there_before"));
}

TEST_CASE("files of these names that no run wrote are never touched, --fresh or not") {
  for (const bool fresh : {false, true}) {
    for (const char* name : {"job.yaml", "metrics.jsonl", "summary.json"}) {
      TemporaryFolder temporary;
      write_text(temporary.path() / name, "name: the user's own\n");
      check_refused(ExitStatus::usage, std::string(name) + ": no run wrote this file",
                    [&] { RunFolder({.out = temporary.path(), .fresh = fresh}, "mnist"); });
      CHECK(read_text(temporary.path() / name) == "name: the user's own\n");
    }
  }
}

TEST_CASE("a link in place of a run's file is not followed") {
  TemporaryFolder temporary;
  complete_run(temporary.path() / "run", "");
  write_text(temporary.path() / "precious", "mine");
  fs::remove(temporary.path() / "run" / "summary.json");
  fs::create_symlink(temporary.path() / "precious", temporary.path() / "run" / "summary.json");
  check_refused(ExitStatus::usage, "no run wrote this file",
                [&] { RunFolder({.out = temporary.path() / "run", .fresh = true}, "mnist"); });
  CHECK(read_text(temporary.path() / "precious") == "mine");
}

TEST_CASE("a folder in which a run is going on is refused even with --fresh") {
  TemporaryFolder temporary;
  {
    RunFolder folder({.out = temporary.path()}, "mnist");
    check_refused(ExitStatus::usage, "a run is going on in this folder",
                  [&] { RunFolder({.out = temporary.path(), .fresh = true}, "mnist"); });
    RunFolder moved = std::move(folder);
    check_refused(ExitStatus::usage, "a run is going on", [&] { RunFolder({.out = temporary.path()}, "mnist"); });
  }
  CHECK_NOTHROW(RunFolder({.out = temporary.path()}, "mnist"));
}

TEST_CASE("a path that cannot be a folder is named with the reason") {
  TemporaryFolder temporary;
  write_text(temporary.path() / "file", "");
  check_refused(ExitStatus::usage, "file: this is a file; a run needs a folder",
                [&] { RunFolder({.out = temporary.path() / "file"}, "mnist"); });
  check_refused(ExitStatus::failed, "Not a directory",
                [&] { RunFolder({.out = temporary.path() / "file" / "below"}, "mnist"); });
  check_refused(ExitStatus::failed, "cannot create the folder /proc/nothing",
                [&] { RunFolder({.runs = "/proc/nothing"}, "mnist"); });
}

TEST_CASE("a folder that vanishes during the run is an error with file and reason") {
  TemporaryFolder temporary;
  const fs::path out = temporary.path() / "run";
  RunFolder folder({.out = out}, "mnist");
  folder.begin("");
  fs::remove_all(out);
  check_refused(ExitStatus::failed, "cannot write " + (out / "summary.json").string() + ": No such file or directory",
                [&] { folder.write_summary("{}"); });
}

TEST_CASE("a folder that was removed, and made again by a checkpoint: it holds a run again, and what is lost is said") {
  TemporaryFolder temporary;
  const fs::path out = temporary.path() / "run", kept = temporary.path() / "kept";
  RunFolder folder({.out = out}, "mnist");
  folder.begin("name: x\n");
  CHECK(folder.restore().empty());
  fs::rename(out, kept);
  fs::create_directories(out / "checkpoints");
  CHECK(folder.restore().starts_with(out.string() + ": the folder was removed while the run went on; what metrics"));
  CHECK(folder.restore().empty());
  CHECK(read_text(out / "job.yaml") == read_text(kept / "job.yaml"));
  folder.append_metrics("{}");
  CHECK(read_text(out / "metrics.jsonl") == "{}\n");
  CHECK_THROWS_AS(RunFolder({.out = out, .fresh = true}, "mnist"), Error);  // it is in use

  fs::rename(out, temporary.path() / "again");
  const std::string message =
      out.string() + ": the folder was removed while the run went on, and another run lies there by now";
  {
    RunFolder other({.out = out}, "mnist");
    check_refused(ExitStatus::failed, message, [&] { folder.restore(); });
    other.begin("name: y\n");
  }
  check_refused(ExitStatus::failed, message, [&] { folder.restore(); });  // it has ended
  CHECK(read_text(out / "job.yaml").ends_with("name: y\n"));
}

TEST_CASE("a disk that takes no more: file and reason are named, and the older file stays") {
  TemporaryFolder temporary;
  const fs::path file = temporary.path() / "summary.json";
  write_file_atomically(file, "old");
  RunFolder folder({.out = temporary.path() / "run"}, "mnist");
  folder.begin("");

  // A limit on file sizes stands in for the full disk: writes come back short and then fail, as they do there.
  const auto earlier = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit limit = before;
  limit.rlim_cur = 100;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  check_refused(ExitStatus::failed, "cannot write " + file.string() + ": File too large",
                [&] { write_file_atomically(file, std::string(1000, 'x')); });
  check_refused(ExitStatus::failed, "metrics.jsonl: File too large",
                [&] { folder.append_metrics(std::string(1000, 'x')); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, earlier);

  CHECK(read_text(file) == "old");
  CHECK(std::distance(fs::directory_iterator(temporary.path()), fs::directory_iterator()) ==
        2);  // no temporary file left
}
