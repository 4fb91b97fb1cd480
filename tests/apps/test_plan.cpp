// `dptrain plan`: its table, its object, and what it refuses. How long anything takes is not looked at.
#include <doctest/doctest.h>

#include "apps/end_to_end.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

std::vector<std::string> plan(std::vector<std::string> more) {
  std::vector<std::string> all{"plan", "job.yaml", "--seconds", "0.1"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

json planned(const Workplace& here, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = plan(more);
  arguments.emplace_back("--json");
  const Finished done = here.dptrain(arguments);
  CHECK_MESSAGE(done.status == 0, done.err);
  return json::parse(done.out);
}

}  // namespace

TEST_CASE("plan prints a row for each number of devices, what it assumes, and the knee; it leaves nothing") {
  const Workplace here;
  const Finished done = here.dptrain(plan({"--devices", "1,2,4,...,16", "--link", "100Gbit,5us"}));
  CHECK_MESSAGE(done.status == 0, done.err);
  CHECK(has(done.out, "small, 12,730 parameters, a step of 64 = 4 micro-batches x 16\n"));
  CHECK(has(done.out, "joined by 100 Gbit/s, 5 us; nothing overlaps\n"));
  for (const char* row : {"\n      1 ", "\n      2 ", "\n      4 ", "\n      8 ", "\n     16 "})
    CHECK(has(done.out, row));
  CHECK(has(done.out, "  12 idle\n"));
  CHECK(has(done.out, "\nknee: "));
  CHECK(has(done.out, "a run with more devices than that is refused"));
  CHECK(!has(done.out, "measured"));
  CHECK(!fs::exists(here.folder / "runs"));
}

TEST_CASE("its object: rows, each with its parts, bytes and memory; those are check's") {
  const Workplace here;
  const json all = planned(here, {"--devices", "1024,4,2"});
  CHECK(all.at("micro_batches") == 4);
  const json& rows = all.at("rows");
  const std::int64_t cores = all.at("cores");
  std::int64_t before = 0;
  for (const json& row : rows) {
    CHECK(row.at("devices") >= before);
    before = row.at("devices");
    CHECK(row.at("step_seconds") > 0);
    CHECK(row.at("memory_bytes") > 0);
    CHECK((row.at("sent_bytes") > 0) == (row.at("machines") > 1));
    CHECK((row.at("parts").at("link") > 0) == (row.at("machines") > 1));
    CHECK(row.at("measured_step_seconds").is_null());
    if (!row.at("shares_cores"))
      CHECK(row.at("machines") == (row.at("devices").get<std::int64_t>() + cores - 1) / cores);
  }
  CHECK(rows.back().at("devices") == 1024);
  CHECK(rows.back().at("idle") == 1020);
  const Finished check = here.dptrain({"check", "job.yaml", "--devices", "1"});
  const std::string memory = check.out.substr(check.out.find("\nmemory ") + 8);
  const double shared = std::stod(memory) * (memory.find("kB") < memory.find("MB") ? 1e3 : 1e6);
  const json one = planned(here, {"--devices", "1"}).at("rows").at(0);
  CHECK(one.at("memory_bytes").get<double>() > shared);
}

TEST_CASE("with --measure it holds the forecast against runs, at every number that this machine can run") {
  const Workplace here;
  const json all = planned(here, {"--devices", "1,2", "--measure"});
  const std::int64_t cores = all.at("cores");
  for (const json& row : all.at("rows")) {
    if (row.at("devices") > 2 * cores || row.at("machines") > 1) continue;
    CHECK(row.at("measured_step_seconds") > 0);
    CHECK(row.at("error") > -1);
  }
  CHECK(all.at("rows").at(0).at("measured_step_seconds") > 0);
}

TEST_CASE("other jobs: settings of the command line, a clipped one, a whole step as one micro-batch") {
  const Workplace here;
  CHECK(planned(here, {"--devices", "1,8", "--set", "train.micro_batch_size=64"}).at("micro_batches") == 1);
  CHECK(planned(here, {"--devices", "2", "--set", "train.clip_grad_norm=1", "--set", "devices.count=64"})
            .at("rows")
            .at(0)
            .at("devices") == 2);
}

TEST_CASE("what plan cannot do is said, with status 2") {
  const Workplace here;
  const auto refusal = [&](const std::vector<std::string>& more, const std::string& part) {
    const Finished done = here.dptrain(plan(more));
    CHECK(done.status == 2);
    CHECK(done.out.empty());
    CHECK_MESSAGE(has(done.err, part), done.err);
  };
  refusal({"--link", "fast"}, "--link takes a rate and a latency above 0, such as 100Gbit,5us");
  refusal({"--link", "100Gbit"}, "not '100Gbit'");
  for (const char* devices :
       {"0", "1,,2", "two", "1,-2", "5000", "1,2,4,...", "...,4", "1,...,4", "1,2,4,...,9", "4,2,...,1", "1,1,...,4"})
    refusal({"--devices", devices}, "--devices takes numbers from 1 to 4096");
  refusal({"--mode", "async"}, "--mode sync");
  refusal({"--set", "reproducible=false", "--set", "train.micro_batch_size=auto"}, "train.micro_batch_size=N");
  refusal({"--seconds", "0"}, "--seconds");
  refusal({"--set", "train.micro_batch_size=0"}, "micro_batch_size");
  CHECK(here.dptrain({"plan"}).status == 2);
}

TEST_CASE("an ellipsis goes on by ratio or by difference") {
  const Workplace here;
  const auto counts = [&](const std::string& devices) {
    std::vector<int> found;
    const json all = planned(here, {"--devices", devices});
    for (const json& row : all.at("rows"))
      if (!row.at("shares_cores")) found.push_back(row.at("devices"));
    return found;
  };
  CHECK(counts("1,2,4,...,32") == std::vector<int>{1, 2, 4, 8, 16, 32});
  CHECK(counts("1,2,3,...,6") == std::vector<int>{1, 2, 3, 4, 5, 6});
  CHECK(counts("3,6,...,24") == std::vector<int>{3, 6, 12, 24});
  CHECK(counts("4,2,2") == std::vector<int>{2, 4});
}

}  // namespace dptrain::test
