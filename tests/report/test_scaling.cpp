#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "report/scaling.h"

namespace dptrain {

namespace {

using nlohmann::json;

Scaling sample() {
  ScalingRow one{.micro_batches = 8, .compute = 2e-3, .memory_bytes = 4'100'000, .measured_seconds = 2.5e-3};
  ScalingRow crowded{.devices = 4, .shares_cores = true, .micro_batches = 2, .compute = 1e-3, .memory_bytes = 50'000};
  ScalingRow many{.devices = 16,
                  .machines = 8,
                  .idle = 8,
                  .micro_batches = 1,
                  .compute = 2.5e-4,
                  .link = 2.5e-4,
                  .sent_bytes = 600'000};
  return {.job = "mnist",
          .parameters = 84890,
          .samples = 128,
          .micro_batches = 8,
          .cores = 2,
          .link = "100 Gbit/s, 5 us",
          .link_bytes_per_second = 12.5e9,
          .link_latency = 5e-6,
          .together = 2,
          .rounds = 5,
          .micro_batch_alone = 240e-6,
          .micro_batch_together = 250e-6,
          .add = 10e-6,
          .update = 20e-6,
          .one_device = 2e-3,
          .rows = {one, crowded, many},
          .knee = 4,
          .knee_next = 16,
          .knee_speed_up = 1.5,
          .worthwhile = 0.5};
}

bool has(const std::vector<std::string>& lines, const std::string& part) {
  for (const std::string& line : lines)
    if (line.find(part) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("the table of a forecast, to the letter") {
  const std::vector<std::string> lines = scaling_lines(sample());
  REQUIRE(lines.size() == 9);
  CHECK(lines[0] == "mnist, 84,890 parameters, a step of 128 = 8 micro-batches x 16");
  CHECK(lines[1] ==
        "this machine, 2 cores: a micro-batch takes 240 us, 250 us with 2 at once, an addition 10 us, an update 20 us "
        "(median of 5 rounds)");
  CHECK(has(lines, "more than 2 devices are assumed to be on machines like this one, 2 and one process on each"));
  CHECK(lines[3] ==
        "devices  machines  micro-batches       step    samples/s  speed-up  efficiency     memory  sent a step");
  CHECK(lines[4] ==
        "      1         1              8       2 ms       64,000      1.00        100%     4.1 MB            -");
  CHECK(lines[5] ==
        "      4         1              2       1 ms      128,000      2.00         50%    50.0 kB            -  "
        "sharing 2 cores");
  CHECK(
      lines[6] ==
      "     16         8              1     500 us      256,000      4.00         25%     0.0 kB       0.6 MB  8 idle");
  CHECK(lines[7] ==
        "knee: 4 devices; 16 would make a step 1.50 times as fast, and below 2.50, 50% of what they could add, they do "
        "not pay");
  CHECK(has(lines, "a step has 8 micro-batches, and a run with more devices than that is refused"));
}

TEST_CASE("with measurements there is an error, and a dash where there is none") {
  Scaling scaling = sample();
  scaling.measured = true;
  const std::vector<std::string> lines = scaling_lines(scaling);
  CHECK(lines[3].ends_with("   measured   error"));
  CHECK(lines[4].ends_with("     2.5 ms  -20.0%"));
  CHECK(lines[5].ends_with("          -       -  sharing 2 cores"));
}

TEST_CASE("all devices pay; a busy machine is a warning; one micro-batch needs no additions") {
  Scaling scaling = sample();
  scaling.rows.resize(1);
  scaling.knee = 1;
  scaling.knee_next = 0;
  scaling.lost = 0.25;
  scaling.add = 0;
  scaling.together = 1;
  const std::vector<std::string> lines = scaling_lines(scaling);
  CHECK(has(lines, "knee: none up to 1 device"));
  CHECK(has(lines, "warning: other work on this machine took 25% of the time of this"));
  CHECK(has(lines, "a micro-batch takes 240 us, an update 20 us"));
  CHECK(!has(lines, "refused"));
}

TEST_CASE("the object has the figures of the table, and null for what is not known") {
  const json all = json::parse(scaling_json(sample()));
  for (const char* key :
       {"job", "parameters", "samples", "micro_batches", "cores", "link", "profile", "rows", "knee", "version"})
    CHECK(all.contains(key));
  const json& first = all.at("rows").at(0);
  CHECK(first.at("devices") == 1);
  CHECK(first.at("step_seconds") == doctest::Approx(2e-3));
  CHECK(first.at("measured_step_seconds") == doctest::Approx(2.5e-3));
  CHECK(first.at("error") == doctest::Approx(-0.2));
  CHECK(all.at("rows").at(1).at("shares_cores") == true);
  CHECK(all.at("rows").at(1).at("measured_step_seconds").is_null());
  CHECK(all.at("rows").at(1).at("error").is_null());
  CHECK(all.at("rows").at(2).at("idle") == 8);
  CHECK(all.at("rows").at(2).at("parts").at("link") == doctest::Approx(2.5e-4));
  CHECK(all.at("rows").at(2).at("efficiency") == doctest::Approx(0.25));
  CHECK(all.at("knee").at("devices") == 4);
  CHECK(all.at("link").at("bytes_per_second") == doctest::Approx(12.5e9));
  Scaling scaling = sample();
  scaling.knee_next = 0;
  CHECK(json::parse(scaling_json(scaling)).at("knee").at("next").is_null());
}

}  // namespace dptrain
