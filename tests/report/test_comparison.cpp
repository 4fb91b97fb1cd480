// The table and the object of a comparison.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "report/comparison.h"

namespace dptrain {

namespace {

ComparedRun run_of(const std::string& mode, std::uint64_t seed, bool reached, double seconds) {
  ComparedRun run{.mode = mode, .seed = seed, .folder = "out/" + mode, .exit_status = reached ? 0 : 4};
  run.reached = reached;
  run.at = {.step = 1000, .epoch = seconds / 2, .test_accuracy = reached ? 0.98512 : 0.97999, .train_seconds = seconds};
  run.at.step += static_cast<std::int64_t>(seconds);
  run.samples_per_second = 50000 + seconds;
  run.weights_hash = "ab";
  return run;
}

ComparedRun failed_run(const std::string& mode, std::uint64_t seed) {
  return {.mode = mode, .seed = seed, .folder = "out/f", .exit_status = 75, .error = "a replica is late"};
}

Comparison sample() {
  Comparison comparison{.job = "mnist", .target = 0.985, .first_seed = 1, .seeds = 3, .modes = {}};
  comparison.modes = {
      {"sync", 2, {{"train.global_batch_size", "128"}, {"train.optimizer.lr", "0.1"}}},
      {"local_sgd",
       2,
       {{"train.global_batch_size", "64"}, {"train.optimizer.lr", "0.1"}, {"local_sgd.outer_optimizer", "none"}}}};
  for (std::uint64_t seed = 1; seed <= 3; ++seed)
    comparison.runs.push_back(run_of("sync", seed, true, 1.0 + static_cast<double>(seed)));
  comparison.runs.push_back(run_of("local_sgd", 1, false, 9));
  comparison.runs.push_back(run_of("local_sgd", 2, true, 4));
  comparison.runs.back().parts = 2;
  comparison.runs.push_back(failed_run("local_sgd", 3));
  return comparison;
}

}  // namespace

TEST_CASE("the spread of some values") {
  CHECK(spread_of({3, 1, 2}).median == 2);
  CHECK(spread_of({4, 1, 2, 3}).median == 2.5);
  CHECK(spread_of({4, 1, 2, 3}).least == 1);
  CHECK(spread_of({4, 1, 2, 3}).most == 4);
  CHECK(std::isnan(spread_of({}).median));
}

TEST_CASE("the table of a comparison: what differs, and what did not reach the target, below it") {
  CHECK(comparison_lines(sample()) ==
        std::vector<std::string>{
            "mnist, 2 replicas, seeds 1 to 3",
            "mode       reached       seconds to 98.5%                steps            epochs  samples/s  accuracy",
            "sync        3 of 3       3.00 (2.00-4.00)  1,003 (1,002-1,004)  1.50 (1.00-2.00)     50,003    98.51%",
            "local_sgd   1 of 3       4.00 (4.00-4.00)  1,004 (1,004-1,004)  2.00 (2.00-2.00)     50,007    98.25%",
            "local_sgd with train.global_batch_size=64",
            "local_sgd, seed 1: 97.99% after 9.00 s of training, 1,009 steps, 4.50 epochs: missed",
            "local_sgd, seed 3: failed with status 75: a replica is late"});
}

TEST_CASE("the table of a comparison that ended early, of a mode without a result, of modes with other replicas") {
  Comparison none{.job = "mnist", .target = 0.985, .first_seed = 7, .seeds = 1, .modes = {{"sync", 2}, {"async", 1}}};
  none.runs.push_back(failed_run("sync", 7));
  const std::vector<std::string> lines = comparison_lines(none);
  REQUIRE(lines.size() == 6);
  CHECK(lines[0] == "mnist, sync: 2 replicas, async: 1 replica, seed 7");
  CHECK(lines[2] ==
        "sync        0 of 1                      -                    -                 -          -         -");
  CHECK(lines[3] ==
        "async       0 of 0                      -                    -                 -          -         -");
  CHECK(lines[5] == "ended early: 1 of 2 runs");
  CHECK_FALSE(none.complete());
}

TEST_CASE("the outcome of a run in words") {
  CHECK(outcome_text(run_of("sync", 1, true, 3)) == "98.51% after 3.00 s of training, 1,003 steps, 1.50 epochs");
  ComparedRun run = run_of("sync", 1, false, 3);
  run.parts = 2;
  CHECK(outcome_text(run) == "97.99% after 3.00 s of training, 1,003 steps, 1.50 epochs, in 2 parts: missed");
}

TEST_CASE("the object of a comparison") {
  const auto json = nlohmann::json::parse(comparison_json(sample()));
  CHECK(json.at("job") == "mnist");
  CHECK(json.at("target") == 0.985);
  CHECK(json.at("first_seed") == 1);
  CHECK(json.at("seeds") == 3);
  CHECK(json.at("replicas") == 2);
  CHECK(json.at("reached") == false);
  CHECK(json.at("complete") == true);
  const auto& local = json.at("modes").at(1);
  CHECK(local.at("mode") == "local_sgd");
  CHECK(local.at("replicas") == 2);
  CHECK(local.at("settings").at("train.global_batch_size") == 64);
  CHECK(local.at("settings").at("train.optimizer.lr") == 0.1);
  CHECK(local.at("settings").at("local_sgd.outer_optimizer") == "none");
  CHECK(local.at("reached") == 1);
  CHECK(local.at("failed") == 1);
  CHECK(local.at("seconds_to_target").at("median") == 4);
  CHECK(local.at("steps_to_target").at("median") == 1004);
  CHECK(local.at("epochs_to_target").at("max") == 2);
  CHECK(local.at("test_accuracy").at("min") == 0.97999);
  REQUIRE(local.at("runs").size() == 3);
  CHECK(local.at("runs").at(0).at("reached") == false);
  CHECK(local.at("runs").at(0).at("exit_status") == 4);
  CHECK(local.at("runs").at(0).at("error").is_null());
  CHECK(local.at("runs").at(0).at("parts") == 1);
  CHECK(local.at("runs").at(1).at("train_seconds") == 4);
  CHECK(local.at("runs").at(1).at("parts") == 2);
  CHECK(local.at("runs").at(2).at("exit_status") == 75);
  CHECK(local.at("runs").at(2).at("error") == "a replica is late");
  CHECK(local.at("runs").at(2).at("step").is_null());
  CHECK_FALSE(Comparison{}.reached());
  CHECK(comparison_json({.job = "\xff", .target = 1, .modes = {{"sync"}}}).find("null") != std::string::npos);
}

TEST_CASE("a comparison is told from other files") {
  CHECK(is_comparison(comparison_json(sample())));
  CHECK(is_comparison(comparison_json({})));
  for (const char* text : {"", "mine", "{}", "[]", "{\"job\": 1}", "{\"modes\": "}) CHECK_FALSE(is_comparison(text));
}

}  // namespace dptrain
