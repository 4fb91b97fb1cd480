// The part of a job that decides the weights: what must be in it, and what may change between the parts of a run.
#include <doctest/doctest.h>

#include "spec/reader.h"

namespace dptrain {

namespace {

std::string weights_of(const std::vector<std::pair<std::string, std::string>>& settings) {
  std::vector<Override> overrides;
  for (const auto& [path, value] : settings) overrides.push_back({"--set", path, value});
  return weights_yaml(
      read_job_text("dataset: {name: digits}\nmodel: {input: [4], layers: [linear: 2]}\n"
                    "train: {steps: 8, global_batch_size: 4, optimizer: {name: sgd, lr: 0.1}}\ndevices: {count: 4}\n",
                    "job.yaml", overrides));
}

const std::pair<std::string, std::string> kSkip = {"faults.on_nan", "skip"}, kRollback = {"faults.on_nan", "rollback"};

}  // namespace

TEST_CASE("what happens at a value that is not finite decides the weights, unless the run ends there") {
  const std::string stop = weights_of({});
  const std::string skip = weights_of({kSkip}), rollback = weights_of({kRollback});
  CHECK(skip == stop + "faults: {on_nan: skip}\n");
  CHECK(rollback == stop + "faults: {on_nan: rollback, rollback_lr_factor: 0.5}\ncheckpoint: {every: end}\n");
  CHECK(weights_of({kRollback, {"faults.rollback_lr_factor", "0.1"}}) != rollback);
  CHECK(weights_of({kRollback, {"checkpoint.every", "3 steps"}}) != rollback);
  CHECK(weights_of({kRollback, {"checkpoint.keep", "9"}}) == rollback);
  CHECK(weights_of({kSkip, {"checkpoint.every", "3 steps"}}) == skip);
  CHECK(weights_of({{"faults.rollback_lr_factor", "0.1"}, {"checkpoint.every", "3 steps"}}) == stop);
}

TEST_CASE("drills that make values that are not finite decide the weights by their steps, others never") {
  const std::string stop = weights_of({}), skip = weights_of({kSkip});
  const auto drills = [](const char* list) { return std::pair<std::string, std::string>{"drills", list}; };
  CHECK(weights_of({drills("[{at_step: 3, replica: 0, do: nan}]")}) == stop);
  const std::string drilled = weights_of({kSkip, drills("[{at_step: 3, replica: 0, do: nan}]")});
  CHECK(drilled == skip + "drills:\n  - {at_step: 3, do: nan}\n");
  CHECK(weights_of({kSkip, drills("[{at_step: 3, replica: 2, do: nan}, {at_step: 3, replica: 1, do: nan}]")}) ==
        drilled);
  CHECK(weights_of({kSkip, drills("[{at_step: 3, replica: 1, do: nan}, {at_step: 3, replica: 1, do: nan}]")}) ==
        drilled + "  - {at_step: 3, do: nan}\n");
  CHECK(weights_of({kSkip, drills("[{at_step: 4, replica: 1, do: nan}, {at_step: 3, replica: 1, do: nan}]")}) ==
        drilled + "  - {at_step: 4, do: nan}\n");
  const char* others =
      "[{at_step: 1, replica: 0, do: throw}, {at_step: 2, replica: 0, do: stall, seconds: 1}, {at_step: 2, replica: 0, "
      "do: slow}]";
  CHECK(weights_of({kSkip, drills(others)}) == skip);
  CHECK(weights_of({drills(others),
                    {"faults", "{max_skips: 3, max_rollbacks: 9, on_replica_failure: continue, step_deadline: 9}"},
                    {"balance", "auto"}}) == stop);
}

TEST_CASE("blocks that are computed again do not decide the weights, and are said only where they are") {
  const auto block = [](const std::string& recompute) {
    return std::pair<std::string, std::string>{
        "model.layers", "[{linear: 4}, {residual: {" + recompute + "layers: [{linear: 4}, {residual: {" + recompute +
                            "layers: [relu]}}]}}, {repeat: "
                            "{times: 2, " +
                            recompute + "layers: [{linear: 4}, relu]}}, {linear: 2}]"};
  };
  const std::string kept = weights_of({block("")});
  CHECK(kept.find("recompute") == std::string::npos);
  CHECK(weights_of({block("recompute: true, ")}) == kept);
}

TEST_CASE("the loss scale decides the weights in fp16 alone, and is said where it is set or used") {
  const std::pair<std::string, std::string> fp16{"train.precision", "fp16"},
      scale{"train.loss_scale", "{init_scale: 4}"};
  CHECK(weights_of({scale}) == weights_of({}));
  CHECK(weights_of({}).find("loss_scale") == std::string::npos);
  CHECK(weights_of({fp16}).find("  loss_scale: {init_scale: 65536, growth_interval: 2000, min_scale: 1}\n") !=
        std::string::npos);
  CHECK(weights_of({fp16, scale}) != weights_of({fp16}));
  CHECK(weights_of({fp16, scale, {"train.loss_scale.growth_interval", "3"}}) != weights_of({fp16, scale}));
}

TEST_CASE("what gradients travel as decides the weights, and is said where it is not fp32") {
  CHECK(weights_of({{"train.communication", "fp32"}}) == weights_of({}));
  CHECK(weights_of({}).find("communication") == std::string::npos);
  CHECK(weights_of({{"train.communication", "bf16"}}).find("  communication: bf16\n") != std::string::npos);
}

}  // namespace dptrain
