// Recorded runs, replayed at 1, 2 and 4 replicas to the recorded hash; and records that begin anew where a run goes on.
#include <algorithm>
#include <fstream>

#include "support/process.h"
#include "train/async/replays.h"
#include "train/in_rounds.h"
#include "train/resumed_runs.h"

namespace dptrain {

using namespace test;

TEST_CASE("ten recorded runs reach the recorded hash each, on 1, 2 and 4 replicas") {
  const char* const blocks[] = {
      "{record: true}",
      "{record: true, shards: 1}",
      "{record: true, max_staleness: 0}",
      "{record: true, max_staleness: 1}",
      "{record: true, max_staleness: 2, on_stale: drop}",
      "{record: true, max_staleness: 8, on_stale: scale, shards: 2}",
      "{record: true, on_stale: scale, updates_per_apply: 2}",
      "{record: true, updates_per_apply: 3, max_staleness: 1}",
      "{record: true, max_staleness: 1, on_stale: drop, updates_per_apply: 2}",
      "{record: true, fallback: {if_loss_above: 0.01}}",
  };
  const char* const models[] = {kAsyncMlp, kAsyncCnn, kAsyncNorms};
  int k = 0;
  for (const char* block : blocks) {
    CAPTURE(block);
    const JobSpec job = async_job(models[k % 3], 2 + k % 3, block, {{"--set", "log.every", "2 steps"}});
    ++k;
    TemporaryFolder folder;
    const Summary recorded = run_async_job(job, {.checkpoints = {.run_folder = folder.path()}});
    check_replays(job, folder.path(), recorded);
  }
}

TEST_CASE("stale, dropped and scaled gradients are replayed") {
  constexpr std::int64_t kSamples = 48;  // epochs of three steps of 4 micro-batches: whole rounds between rests
  struct Case {
    const char* block;
    std::int64_t replicas;
    bool drops;
  };
  const Case cases[] = {
      {"{record: true}", 2, false},
      {"{record: true}", 4, false},
      {"{record: true, shards: 1}", 4, false},
      {"{record: true, max_staleness: 1}", 2, false},
      {"{record: true, max_staleness: 3}", 4, false},
      {"{record: true, max_staleness: 2, on_stale: drop, shards: 1}", 4, true},
      {"{record: true, max_staleness: 1, on_stale: drop, updates_per_apply: 1}", 4, true},
      {"{record: true, max_staleness: 8, on_stale: scale, shards: 2}", 4, false},
      {"{record: true, on_stale: scale, updates_per_apply: 2}", 4, false},
      {"{record: true, updates_per_apply: 3}", 4, false},
      {"{record: true, fallback: {if_loss_above: 0.01}}", 4, false},
  };
  const char* const models[] = {kAsyncMlp, kAsyncCnn, kAsyncNorms};
  int k = 0;
  for (const Case& c : cases) {
    CAPTURE(std::string(c.block));
    CAPTURE(c.replicas);
    const JobSpec job = async_job(models[k++ % 3], c.replicas, c.block, {{"--set", "log.every", "2 steps"}});
    TemporaryFolder folder;
    TrainOptions options = in_rounds(c.replicas);
    options.checkpoints.run_folder = folder.path();
    Reporter silent;
    const Summary recorded = train(job, async_data(kSamples), silent, options);
    CHECK(recorded.async->max_staleness > 0);  // of those that were not dropped
    CHECK((recorded.async->dropped > 0) == c.drops);
    check_replays(job, folder.path(), recorded, 0, kSamples);
  }
}

TEST_CASE("a gradient that read its shards at different versions is replayed") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{record: true, shards: 2}");
  TemporaryFolder folder;
  TrainOptions options = in_between_shards();
  options.checkpoints.run_folder = folder.path();
  const Summary recorded = run_async_job(job, options);
  const Record record = read_record(record_file(folder.path()), [](std::int64_t step) { return 4 * step; });
  CHECK(std::any_of(record.gradients.begin(), record.gradients.end(),
                    [](const RecordedGradient& gradient) { return gradient.read.front() < gradient.read.back(); }));
  check_replays(job, folder.path(), recorded);
}

TEST_CASE("a run that was stopped and went on with another number of replicas is replayed as one") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{record: true}");
  const PartsOfRun parts{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  TemporaryFolder folder;
  const Summary first = parts.part(folder.path(), 20, job.devices);
  CHECK(first.status == RunStatus::stopped);
  // What a run had recorded when it was killed, beyond the checkpoint that it goes on from.
  std::ofstream(record_file(folder.path()), std::ios::app)
      << R"({"gradient": 32, "ticket": 99, "read": 1, "version": 99, "lag": 97, "scale": 1})"
      << "\n{\"gradient\": 3";
  DevicesSpec devices = job.devices;
  devices.count = 3;
  const Summary second = parts.part(folder.path(), to_the_end, devices);
  check_replays(job, folder.path(), second);
}

TEST_CASE("a run whose record is gone, or begins late, is recorded from its checkpoint on, which is kept") {
  for (const bool from_the_start : {true, false}) {
    CAPTURE(from_the_start);
    JobSpec job = async_job(kAsyncCnn, 2, "{record: true}", {{"--set", "checkpoint", "{every: 1 steps, keep: 1}"}});
    JobSpec before = job;
    before.async.record = from_the_start;
    const PartsOfRun first{.job = before, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
    const PartsOfRun rest{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
    TemporaryFolder folder;
    const std::int64_t begin = first.part(folder.path(), 20, job.devices).steps;
    std::filesystem::remove(record_file(folder.path()));
    const Summary middle = rest.part(folder.path(), 20, job.devices);
    REQUIRE(middle.status == RunStatus::stopped);
    CHECK(read_record_header(record_file(folder.path())).step == begin);
    // The same on every instruction set, in whatever layout the weights lie there.
    CHECK(read_record_header(record_file(folder.path())).weights ==
          read_checkpoint(checkpoint_folder(folder.path(), begin)).snapshot.state.weights_hash);
    const Summary recorded = rest.part(folder.path(), to_the_end, job.devices);  // goes on with that record
    CHECK(read_record_header(record_file(folder.path())).step == begin);
    check_replays(job, folder.path(), recorded, begin);
    std::filesystem::remove_all(checkpoint_folder(folder.path(), begin));
    CHECK(contains(replay_failure(job, record_file(folder.path())),
                   fmt::format("the record begins at step {}, and ", begin)));
  }
}

TEST_CASE("a run whose record was cut, emptied or damaged goes on, and is recorded from its checkpoint on") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{record: true, updates_per_apply: 2}");
  const PartsOfRun parts{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  TemporaryFolder stopped;
  const std::int64_t begin = parts.part(stopped.path(), 60, job.devices).steps;
  const std::string whole = text_of(record_file(stopped.path()));
  const auto without = [&](const std::string& what) {
    const std::size_t at = whole.find(what);
    REQUIRE(at != std::string::npos);
    return whole.substr(0, at) + whole.substr(whole.find('\n', at) + 1);
  };
  const std::size_t second = whole.find('\n') + 1;
  const auto line_of = [&](const std::string& what) { return whole.rfind('\n', whole.find(what)) + 1; };
  const std::string damaged[] = {"",
                                 "rubbish\n",
                                 whole.substr(0, 20),
                                 whole.substr(0, second),
                                 whole.substr(0, whole.size() / 2),
                                 without("{\"version\": 2, \"rate\""),
                                 without("{\"gradient\": 3,"),
                                 whole.substr(0, second) + "rubbish\n" + whole.substr(second),
                                 whole + whole.substr(line_of("{\"gradient\": 1,")),
                                 "{\"record\": 1}\n"};
  for (const std::string& text : damaged) {
    CAPTURE(text);
    TemporaryFolder folder;
    std::filesystem::copy(stopped.path(), folder.path(), std::filesystem::copy_options::recursive);
    std::ofstream(record_file(folder.path()), std::ios::trunc) << text;
    check_replays(job, folder.path(), parts.part(folder.path(), to_the_end, job.devices), begin);
  }
}

TEST_CASE("a part of a run that was not recorded ends its record: a new one begins behind it") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{record: true}");
  JobSpec silent = job;
  silent.async.record = false;
  const PartsOfRun recorded{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  const PartsOfRun unrecorded{.job = silent, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  TemporaryFolder folder;
  recorded.part(folder.path(), 20, job.devices);
  const std::int64_t begin = unrecorded.part(folder.path(), 20, job.devices).steps;
  check_replays(job, folder.path(), recorded.part(folder.path(), to_the_end, job.devices), begin);
}

TEST_CASE("a run that fell back, stopped anywhere and gone on with, and one that was made longer, are replayed") {
  const std::string settings = "{record: true, fallback: {to: sync, if_loss_above: 0.01}}";
  JobSpec job = async_job(kAsyncMlp, 2, settings);
  job.train.schedule.shape = CosineSchedule{};
  job.log.every = job.checkpoint.every = Interval{.every = 1, .unit = Interval::Unit::steps};
  const PartsOfRun parts{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  for (const std::int64_t samples : {5, 20, 40}) {
    TemporaryFolder folder;
    parts.part(folder.path(), samples, job.devices);
    check_replays(job, folder.path(), parts.part(folder.path(), to_the_end, job.devices));
  }
  JobSpec shorter = async_job(kAsyncMlp, 2, "{record: true, updates_per_apply: 3}");
  shorter.train.schedule.shape = CosineSchedule{};
  JobSpec longer = shorter;
  shorter.train.epochs = *shorter.train.epochs / 2;
  TemporaryFolder folder;
  const PartsOfRun first{.job = shorter, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  const PartsOfRun second{.job = longer, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
  first.part(folder.path(), to_the_end, shorter.devices);
  check_replays(longer, folder.path(), second.part(folder.path(), to_the_end, longer.devices));
}

}  // namespace dptrain
