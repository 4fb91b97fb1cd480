// Standard input, output and error of the built binary: closed, full, and left by their readers.
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "apps/end_to_end.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

Finished shell(const Workplace& here, const std::string& line) {
  return run({"sh", "-c", line}, here.options({{"DPTRAIN", DPTRAIN_BINARY}}));
}

}  // namespace

TEST_CASE("a reader that leaves early does not end the run") {
  const Workplace here;
  const std::string shell =
      "{ '" DPTRAIN_BINARY "' job.yaml --out run --set train.steps=400; echo $? >status; } | head -n 1";
  const Finished done = run({"sh", "-c", shell}, here.options());
  CHECK(done.status == 0);
  CHECK(std::count(done.out.begin(), done.out.end(), '\n') == 1);
  CHECK(read_text(here.folder / "status") == "0\n");
  CHECK(here.summary("run")["steps"] == 400);
}

TEST_CASE("streams that are closed: nothing that is meant for them gets into the run's files") {
  const Workplace here;
  CHECK(shell(here, "exec \"$DPTRAIN\" job.yaml --out run <&- >&- 2>&-").status == 0);
  std::istringstream lines(read_text(here.folder / "run/metrics.jsonl"));
  int events = 0;
  for (std::string line; std::getline(lines, line); ++events) {
    INFO(line);
    CHECK(json::accept(line));
  }
  CHECK(events >= 5);
  CHECK(here.summary("run")["steps"] == 6);
}

TEST_CASE("a limit on the size of files is a full disk: warnings, and status 1 in the end") {
  const Workplace here;
  const Finished done = shell(  // 20 KiB: too few for a checkpoint
      here, "ulimit -f 40; exec \"$DPTRAIN\" job.yaml --out run --json --set checkpoint.every=2\\ steps");
  INFO(done.err);
  CHECK(done.status == 1);
  CHECK(has(done.err, "warning: a checkpoint was not saved, training goes on: cannot write "));
  CHECK(has(done.err, "File too large"));
  CHECK(json::parse(done.out)["status"] == "failed");
  CHECK(here.summary("run")["steps"] == 6);
  CHECK(fs::is_empty(here.folder / "run/checkpoints"));
}

TEST_CASE("what cannot be printed is an error of a command that prints; a reader that has gone is none") {
  const Workplace here;
  for (const std::string command : {"check job.yaml", "data list", "data info digits", "--help"}) {
    INFO(command);
    const Finished full = shell(here, "exec \"$DPTRAIN\" " + command + " >/dev/full");
    CHECK(full.status == 1);
    CHECK(has(full.err, "cannot write to standard output: No space left on device"));
    // A pipe whose reader has closed its end already.
    shell(here, "mkfifo pipe; exec 3<>pipe 4>pipe 3<&-; \"$DPTRAIN\" " + command + " >&4; echo $? >status; rm pipe");
    CHECK(read_text(here.folder / "status") == "0\n");
  }
}

}  // namespace dptrain::test
