// The table and the object of a comparison.
#include "report/comparison.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace dptrain {

namespace {

ComparedRun run_of(const std::string& mode, std::uint64_t seed, bool reached, double seconds) {
  ComparedRun run{.mode = mode, .seed = seed, .folder = "out/" + mode, .error = {}, .reached = reached};
  run.at = {.step = 40, .epoch = seconds / 2, .test_accuracy = reached ? 0.98512 : 0.97999, .train_seconds = seconds};
  run.samples_per_second = 50000 + seconds;
  run.weights_hash = "ab";
  return run;
}

Comparison sample() {
  Comparison comparison{.job = "mnist", .target = 0.985, .replicas = 2, .modes = {"sync", "local_sgd"}, .runs = {}};
  for (std::uint64_t seed = 1; seed <= 3; ++seed)
    comparison.runs.push_back(run_of("sync", seed, true, 1.0 + static_cast<double>(seed)));
  comparison.runs.push_back(run_of("local_sgd", 1, false, 9));
  comparison.runs.push_back(run_of("local_sgd", 2, true, 4));
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

TEST_CASE("the table of a comparison") {
  CHECK(comparison_lines(sample()) ==
        std::vector<std::string>{
            "mode         reached        seconds to 98.5%                epochs    samples/s  accuracy",
            "sync          3 of 3        3.00 (2.00-4.00)      1.50 (1.00-2.00)       50,003    98.51%",
            "local_sgd     1 of 2        4.00 (4.00-4.00)      2.00 (2.00-2.00)       50,007    98.25%"});
  Comparison none{.job = "mnist", .target = 0.985, .replicas = 2, .modes = {"sync"}, .runs = {}};
  none.runs.push_back({.mode = "sync", .seed = 1, .folder = {}, .error = "diverged"});
  CHECK(comparison_lines(none)[1] ==
        "sync          0 of 1                       -                     -            -         -");
}

TEST_CASE("the object of a comparison") {
  const auto json = nlohmann::json::parse(comparison_json(sample()));
  CHECK(json.at("job") == "mnist");
  CHECK(json.at("target") == 0.985);
  CHECK(json.at("replicas") == 2);
  CHECK(json.at("reached") == false);
  const auto& local = json.at("modes").at(1);
  CHECK(local.at("mode") == "local_sgd");
  CHECK(local.at("reached") == 1);
  CHECK(local.at("seconds_to_target").at("median") == 4);
  CHECK(local.at("runs").size() == 2);
  CHECK(local.at("runs").at(0).at("reached") == false);
  CHECK(local.at("runs").at(0).at("error").is_null());
  CHECK(local.at("runs").at(1).at("train_seconds") == 4);
  CHECK_FALSE(Comparison{}.reached());
  CHECK(comparison_json({.job = "\xff", .target = 1, .modes = {"sync"}, .runs = {}}).find("null") != std::string::npos);
}

}  // namespace dptrain
