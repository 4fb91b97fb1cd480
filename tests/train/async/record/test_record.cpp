// Records as they are written and read, and what is no record of a run.
#include <fstream>

#include "support/process.h"
#include "train/async/replays.h"

namespace dptrain {

using namespace test;

TEST_CASE("records are read as they were written") {
  TemporaryFolder folder;
  const auto file = folder / "async.record";
  const RecordHeader header{.job = "j", .weights = "w", .floats = 3000, .shards = 3, .step = 0, .version = 0};
  RecordedGradient one{.index = 0, .ticket = 0, .read = {0, 0, 0}, .version = 1, .lag = 0, .scale = 1};
  const RecordedGradient two{.index = 5, .ticket = 1, .read = {1, 0, 1}, .version = {}, .lag = 7, .scale = 1 / 3.0f};
  {
    RecordWriter writer(file, header);
    writer.gradient(one);
    writer.gradient(two);
    writer.version(1, 0.1);
    writer.version(2, 1 / 3.0);
    writer.fallback(4, 17);
  }
  one.read = {0};  // of all shards
  const auto first_of = [](std::int64_t step) { return 4 * step; };
  Record record = read_record(file, first_of);
  CHECK(record.header == header);
  CHECK(read_record_header(file) == header);
  CHECK(record.gradients == std::vector<RecordedGradient>{one, two});
  CHECK(record.fallback_step == 4);
  CHECK(record.rates == std::map<std::int64_t, double>{{1, 0.1}, {2, 1 / 3.0}});

  RecordWriter(file, 1, 1);
  record = read_record(file, first_of);
  CHECK(record.gradients == std::vector<RecordedGradient>{one});
  CHECK(record.fallback_step == -1);
  CHECK(record.rates == std::map<std::int64_t, double>{{1, 0.1}});
}

TEST_CASE("what cannot be replayed says why") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{record: true}");
  TemporaryFolder folder;
  run_async_job(job, {.checkpoints = {.run_folder = folder.path()}});
  const auto file = record_file(folder.path());
  JobSpec other = job;
  other.train.shuffle = false;
  CHECK(contains(replay_failure(other, file), "another job"));
  const std::string whole = text_of(file);
  const auto with = [&](const std::string& changed) {
    std::ofstream(folder / "changed") << changed;
    return replay_failure(job, folder / "changed");
  };
  CHECK(contains(with(""), "the file is empty"));
  CHECK(contains(with("{}\n" + whole), "no record of a run"));
  const std::size_t second = whole.find('\n') + 1;
  const std::size_t first_version =
      whole.find("\"version\": 1, \"lag\"", second);  // lines are written as threads come to it
  const std::size_t its_line = whole.rfind('\n', first_version) + 1, next_line = whole.find('\n', its_line) + 1;
  CHECK(contains(with(whole.substr(0, its_line) + whole.substr(next_line)), "nothing is recorded of version 1"));
  std::string weights = whole;
  weights.replace(weights.find("\"weights\":\"") + 11, 4, "zzzz");
  CHECK(contains(with(weights), "the run began with other weights than the seed's"));
  const auto with_header = [&](const std::string& from, const std::string& to) {
    std::string changed = whole;
    changed.replace(changed.find(from), from.size(), to);
    return with(changed);
  };
  CHECK(contains(with_header("\"shards\":2", "\"shards\":100000000000"), "floats have 2 shards at most"));
  CHECK(contains(with_header("\"shards\":2", "\"shards\":-2"), "are at least 1"));
  for (const std::string key : {"shards", "job", "pushed"}) {
    const std::string said = with_header("\"" + key + "\":", "\"other\":");
    CHECK(contains(said, ":1: " + key + " is missing"));
    CHECK_FALSE(contains(said, "json"));
  }
  CHECK(contains(with("{\"record\": 2}\n"), ":1: job is missing"));
  CHECK(contains(with_header("\"job\":\"", "\"job\": 7, \"j\":\""), ":1: job: 7 is no text"));
  CHECK(contains(with_header("\"step\":0", "\"step\":-1"), "are not negative"));
  // The first gradient once more, and what of it no run can have done.
  const std::size_t at = whole.find("{\"gradient\": 0,");
  REQUIRE(at != std::string::npos);
  const std::size_t behind = whole.find('\n', at) + 1;
  const std::string line = whole.substr(at, behind - at);
  const auto with_line = [&](const std::string& read, const std::string& version, const std::string& lag) {
    return with(
        whole.substr(0, at) +
        fmt::format("{{\"gradient\": 0, \"ticket\": 0, \"read\": {}, \"version\": {}, \"lag\": {}, \"scale\": 1}}\n",
                    read, version, lag) +
        whole.substr(behind));
  };
  CHECK(contains(with(whole + line), "micro-batch 0 for the second time"));
  CHECK(contains(
      with(whole + "{\"gradient\": 0, \"ticket\": 90, \"read\": 4, \"version\": 5, \"lag\": 0, \"scale\": 1}\n"),
      ":68: micro-batch 0 for the second time"));  // a header, 33 gradients and 33 versions before it
  CHECK(contains(with(whole + "{\"version\": 3, \"rate\": 0.5}\n"), "version 3 for the second time"));
  CHECK(contains(with_line("4", "1", "0"), "read version 4 and is part of 1"));
  CHECK(contains(with_line("[0, 1]", "1", "0"), "read version 1 and is part of 1"));
  CHECK(contains(with_line("-1", "1", "1"), "read version -1, and the record begins at 0"));
  CHECK(contains(with_line("0", "1", "1"), "cannot have had lag 1"));
  CHECK(contains(with_line("[2, 3]", "5", "1"), "cannot have had lag 1"));
  CHECK(contains(with_line("0", "null", "-1"), "cannot have had lag -1"));
  CHECK(contains(with_line("[0, 0, 0]", "1", "0"), "a gradient that has read 3 shards of 2"));
  CHECK(contains(with_line("[0]", "1", "0"), "a gradient that has read 1 shards of 2"));
  CHECK(contains(with_line("0.5", "1", "0"), "read: 0.5 is no number of a record"));
  CHECK(contains(with_line("[0, 0.5]", "1", "0"), "read: 0.5 is no number of a record"));
  CHECK(contains(with_line("0", "true", "0"), "version: true is no number of a record"));
  CHECK(contains(with_line("0", "18446744073709551615", "0"), "is no number of a record"));
  CHECK(contains(with_line("0", "1", "\"0\""), "lag: \"0\" is no number of a record"));
  for (const char* unknown : {"5", "[1, 2]", "{\"what\": 1}", "null", "\"gradient\"", "{\"record\": 2}"})
    CHECK(contains(with(whole + unknown + "\n"), ":68: this is no line of a record"));
  std::string tickets = whole;
  tickets.replace(tickets.find("\"ticket\": 0,"), 12, "\"ticket\": false,");
  CHECK(contains(with(tickets), "ticket: false is no number of a record"));
  tickets = whole;
  tickets.replace(tickets.find("\"ticket\": 0,"), 12, "\"ticket\": 7,");
  CHECK(contains(with(tickets), "ticket 7 for the second time"));
  // Nothing is made as large as a header says before it is held against the model.
  const std::string floats = fmt::format("\"floats\":{}", read_record_header(file).floats);
  std::string hostile = whole;
  hostile.replace(hostile.find("\"shards\":2"), 10, "\"shards\":900000000");
  CHECK(contains(with(hostile), "at most"));
  hostile.replace(hostile.find(floats), floats.size(), "\"floats\":1000000000000");
  CHECK(contains(with(hostile), "is of a model of 1000000000000 floats, and this one has"));
  hostile.replace(hostile.find("\"floats\":1000000000000"), 22, "\"floats\":1000000000000000");
  CHECK(contains(with(hostile), "floats: 1000000000000000 is no number of a record"));
}

}  // namespace dptrain
