#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/hash.h"
#include "core/process.h"
#include "report/json.h"
#include "report/reporter.h"
#include "report/samples.h"

using namespace dptrain;
using namespace dptrain::test;

namespace {

void run(Reporter& reporter) {
  reporter.started(sample_plan(), "name: mnist\n");
  reporter.message("found it");
  reporter.step(sample_step());
  reporter.warning("odd");
  reporter.evaluated(sample_evaluation());
  reporter.finished(sample_summary());
}

}  // namespace

TEST_CASE("a run leaves its three files and says its lines") {
  TemporaryFolder folder;
  Captured output, messages;
  Reporter reporter({.output = output.stream(), .messages = messages.stream()},
                    RunFolder({.out = folder.path() / "run"}, "mnist"));
  run(reporter);
  const auto metrics = lines_of(read_text(folder.path() / "run" / "metrics.jsonl"));
  CHECK(metrics == std::vector<std::string>{start_json(sample_plan()), train_json(sample_step()),
                                            evaluate_json(sample_evaluation()), end_json(sample_summary())});
  for (const std::string& line : metrics) CHECK(nlohmann::json::accept(line));
  CHECK(read_text(folder.path() / "run" / "summary.json") == summary_json(sample_summary()) + "\n");
  CHECK(read_text(folder.path() / "run" / "job.yaml").ends_with("\nname: mnist\n"));
  CHECK(lines_of(output.text()).size() == 11);
  CHECK(messages.text() == "found it\nwarning: odd\n");
}

TEST_CASE("--json: one object and nothing else on standard output") {
  Captured output, messages;
  Reporter reporter({.json = true, .output = output.stream(), .messages = messages.stream()}, std::nullopt);
  run(reporter);
  CHECK(output.text() == summary_json(sample_summary()) + "\n");
  CHECK(nlohmann::json::accept(output.text()));
  CHECK(messages.text() == "warning: odd\n");
}

TEST_CASE("--json: one object, too, of a run that fails before or after its first step, or in saying how it ended") {
  Summary failed = sample_summary();
  failed.status = RunStatus::failed;
  failed.error = "the disk";
  Captured output, messages;
  {
    Reporter reporter({.json = true, .output = output.stream(), .messages = messages.stream()}, std::nullopt);
    reporter.failed(failed);
    reporter.unbegun(sample_summary());  // the same error, on its way out
  }
  CHECK(output.text() == summary_json(failed) + "\n");
  Captured before;
  Reporter({.json = true, .output = before.stream(), .messages = messages.stream()}, std::nullopt).unbegun(failed);
  CHECK(before.text() == summary_json(failed) + "\n");
  TemporaryFolder folder;
  Captured after;
  Reporter reporter({.json = true, .output = after.stream(), .messages = messages.stream()},
                    RunFolder({.out = folder.path() / "run"}, "mnist"));
  reporter.started(sample_plan(), "");
  std::filesystem::remove_all(folder.path() / "run");
  CHECK_THROWS_AS(reporter.finished(sample_summary()), Error);
  const auto object = nlohmann::json::parse(after.text());
  CHECK(object["status"] == "failed");
  CHECK(object["weights_hash"] == "");
  CHECK(object["error"].get<std::string>().find("summary.json: No such file") != std::string::npos);
}

TEST_CASE("--quiet: nothing on standard output") {
  Captured output, messages;
  Reporter reporter({.quiet = true, .output = output.stream(), .messages = messages.stream()}, std::nullopt);
  run(reporter);
  CHECK(output.text().empty());
}

TEST_CASE("--json where standard output cannot be written") {
  SUBCASE("a full disk is an error that gives the reason") {
    std::FILE* full = std::fopen("/dev/full", "w");
    REQUIRE(full != nullptr);
    Captured messages;
    Reporter reporter({.json = true, .output = full, .messages = messages.stream()}, std::nullopt);
    try {
      run(reporter);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::failed);
      CHECK(std::string(error.what()) == "cannot write the summary to standard output: No space left on device");
    }
    std::fclose(full);
  }
  SUBCASE("a reader that has gone is none") {
    const auto earlier = std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    std::FILE* stream = ::fdopen(ends[1], "w");
    Captured messages;
    Reporter reporter({.json = true, .output = stream, .messages = messages.stream()}, std::nullopt);
    CHECK_NOTHROW(run(reporter));
    std::fclose(stream);
    std::signal(SIGPIPE, earlier);
  }
}

TEST_CASE("reports from several threads stay whole lines") {
  TemporaryFolder folder;
  Captured output, messages;
  Reporter reporter({.output = output.stream(), .messages = messages.stream()},
                    RunFolder({.out = folder.path()}, "mnist"));
  reporter.started(sample_plan(), "");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        reporter.step(sample_step());
        reporter.warning("odd");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto metrics = lines_of(read_text(folder.path() / "metrics.jsonl"));
  REQUIRE(metrics.size() == 201);
  for (std::size_t i = 1; i < metrics.size(); ++i) CHECK(metrics[i] == train_json(sample_step()));
  for (const std::string& line : lines_of(messages.text())) CHECK(line == "warning: odd");
}

TEST_CASE("facts of the process") {
  CHECK(peak_rss_bytes() > 1 << 20);
  CHECK(lines_of(version()).size() == 1);
  Hash128 hash;
  const std::string program = read_text("/proc/self/exe");
  hash.update(program.data(), program.size());
  CHECK(program_hash() == hash.hex());
  CHECK(c_library().find_first_of("0123456789") != std::string::npos);
}
