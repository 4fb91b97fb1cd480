// What becomes of a step that is not finite on GPUs, where the job has another policy than to stop, on the fake of
// CUDA: what is left out, what a run goes back to, the place that is named, and that looking changes no bit.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <string>

#include "core/error.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/small_jobs.h"

namespace dptrain {

using namespace test;

namespace {

struct Machine {
  int gpus;
  const char* devices;
};
const Machine kMachines[] = {{1, "{type: cuda, count: 1}"},
                             {1, "{type: cuda, count: 2, share: true}"},
                             {1, "{type: cuda, count: 3, share: true}"},
                             {2, "{type: cuda, count: 2}"},
                             {3, "{type: cuda, count: 3}"}};

Summary run_on(const Machine& machine, const Case& c, const std::string& more) {
  const Gpus gpus(machine.gpus);
  return run(job_of(c, machine.devices, more));
}

std::string failure_of(const Case& c, const std::string& more) {
  try {
    run_on(kMachines[0], c, more);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::failed);
    return error.what();
  }
  FAIL("no error");
  return {};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("who decides about each step before its update has the bits of who is ahead of the GPU") {
  for (const Case& c : {kCases[1], kCases[7], kNormsOverTheStep}) {
    CAPTURE(c.name);
    const std::string wanted = run_on(kMachines[0], c, "").weights_hash;
    for (const Machine& machine : kMachines) {
      CAPTURE(machine.devices);
      CHECK(run_on(machine, c, "faults: {on_nan: skip}").weights_hash == wanted);
    }
  }
}

TEST_CASE("on_nan: skip on GPUs leaves the update out, names the place, and gives the same bits wherever it runs") {
  const std::string skip =
      "faults: {on_nan: skip}\ndrills: [{at_step: 3, replica: 0, do: nan}, {at_step: 6, replica: 0, do: nan}]";
  for (const Case& c : {kCases[1], kNormsOverTheStep}) {
    CAPTURE(c.name);
    std::string hash = run_on(kMachines[0], c, skip).weights_hash;
    CHECK(hash != run_on(kMachines[0], c, "").weights_hash);
    for (const Machine& machine : kMachines) {
      CAPTURE(machine.devices);
      const Summary s = run_on(machine, c, skip);
      CHECK(s.weights_hash == hash);
      CHECK(s.status == RunStatus::done);
      CHECK(s.skipped_steps == 2);
      REQUIRE(s.faults.size() == 2);
      CHECK(s.faults[0].action == "skip");
      CHECK(s.faults[0].step == 3);
      CHECK(std::isfinite(s.final_loss));
      if (c.name != kCases[1].name) continue;
      CHECK(s.faults[0].replica == 0);
      CHECK(s.faults[0].micro_batch == 0);
      CHECK_FALSE(s.faults[0].parameter.empty());
    }
  }
  CHECK(has(failure_of(kCases[0],
                       "faults: {on_nan: skip, max_skips: 1}\ndrills: [{at_step: 2, replica: 0, do: nan}, {at_step: 3, "
                       "replica: 0, do: nan}]"),
            "after 1 steps in a row that were left out"));
}

TEST_CASE("on_nan: rollback on GPUs with factor 1 is a run without the fault: nothing of the bad step stays behind") {
  for (const Case& c : {kCases[7], kNormsOverTheStep}) {
    CAPTURE(c.name);
    const std::string wanted = run_on(kMachines[0], c, "").weights_hash;
    for (const Machine& machine : kMachines) {
      CAPTURE(machine.devices);
      for (const int bad : {0, 5}) {
        const Summary s =
            run_on(machine, c,
                   fmt::format("checkpoint: {{every: 2 steps}}\nfaults: {{on_nan: rollback, rollback_lr_factor: 1}}\n"
                               "drills: [{{at_step: {}, replica: 0, do: nan}}]",
                               bad));
        CHECK(s.weights_hash == wanted);
        REQUIRE(s.faults.size() == 1);
        CHECK(s.faults[0].action == "rollback");
      }
    }
  }
}

TEST_CASE("in fp16, whose loss scale leaves steps out, other policies are refused") {
  const std::string train = std::string("precision: fp16, ") + kCases[0].train;
  const Case half{"half", kCases[0].layers, train.c_str()};
  for (const char* more : {"faults: {on_nan: skip}", "faults: {on_nan: rollback}\ncheckpoint: {every: 2 steps}",
                           "drills: [{at_step: 1, replica: 0, do: nan}]"}) {
    CAPTURE(more);
    CHECK_THROWS_WITH_AS(run_on(kMachines[0], half, more), doctest::Contains("in precision: fp16 the loss scale"),
                         Error);
  }
}

TEST_CASE("a drill that spoils a gradient on a GPU ends a run that says stop, with the place") {
  const std::string said = failure_of(kCases[1], "drills: [{at_step: 4, replica: 0, do: nan}]");
  CHECK(has(said, " is not finite at step 4"));
  CHECK(has(said, "micro-batch 0 on replica 0"));
}

}  // namespace dptrain
