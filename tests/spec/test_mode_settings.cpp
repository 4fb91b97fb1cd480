// `train` in the block of a mode: what it changes, for which mode, and what goes over what.
#include <doctest/doctest.h>

#include "spec/settings.h"
#include "spec_support.h"

namespace dptrain::testing {
namespace {

Override set(std::string path, std::string value) {
  return {"--set", std::move(path), std::move(value)};
}

const Override kAsync = {"--mode", "mode", "async"};

/// The settings of the small spec's `train` as they come out.
SgdSpec sgd(const JobSpec& job) {
  return std::get<SgdSpec>(job.train.optimizer);
}

}  // namespace

TEST_CASE("train in a mode's block takes effect in that mode alone, key by key") {
  const std::string text = kSmallSpec +
                           "async: {max_staleness: 3, train: {global_batch_size: 64, optimizer: {lr: 0.5}}}\n"
                           "local_sgd: {train: {clip_grad_norm: 2}}\n"
                           "sync: {train: {shuffle: false}}\n";
  const JobSpec sync = read_job_text(text, "job.yaml");
  CHECK(sync.train.global_batch_size == 256);
  CHECK(sgd(sync).lr == 0.1);
  CHECK_FALSE(sync.train.shuffle);
  const JobSpec async = read_job_text(text, "job.yaml", {kAsync});
  CHECK(async.train.global_batch_size == 64);
  CHECK(sgd(async).lr == 0.5);
  CHECK(async.train.epochs == 1);
  CHECK(async.train.shuffle);
  CHECK(async.async.max_staleness == 3);
  const JobSpec local = read_job_text(text + "mode: local_sgd\n", "job.yaml");
  CHECK(local.train.clip_norm == 2);
  CHECK(local.train.global_batch_size == 256);
  for (const JobSpec& job : {sync, async, local}) CHECK(read_job_text(to_yaml(job), "job.yaml") == job);
}

TEST_CASE("a block with a name stands for itself; steps take the place of epochs") {
  const std::string text = kSmallSpec +
                           "async: {train: {steps: 9, optimizer: {name: sgd, lr: 0.2}}}\n"
                           "local_sgd: {train: {optimizer: {name: adam}, lr_schedule: {name: cosine}}}\n";
  const std::vector<Override> momentum = {set("train.optimizer.momentum", "0.9")};
  const JobSpec async = read_job_text(text, "job.yaml", {kAsync});
  CHECK(async.train.steps == 9);
  CHECK_FALSE(async.train.epochs);
  CHECK(sgd(async).momentum == 0);
  CHECK(sgd(read_job_text(text, "job.yaml", momentum)).momentum == 0.9);
  const JobSpec local = read_job_text(text, "job.yaml", {{"--mode", "mode", "local_sgd"}});
  CHECK(std::holds_alternative<AdamSpec>(local.train.optimizer));
  CHECK(std::holds_alternative<CosineSchedule>(local.train.schedule.shape));
}

TEST_CASE("the command line goes over the file, and what it says of a mode over what it says in general") {
  const std::string text = kSmallSpec + "async: {train: {optimizer: {lr: 0.5}}}\n";
  const auto lr = [&](std::vector<Override> overrides) {
    overrides.push_back(kAsync);
    return sgd(read_job_text(text, "job.yaml", overrides)).lr;
  };
  CHECK(lr({}) == 0.5);
  CHECK(lr({set("train.optimizer.lr", "0.25")}) == 0.25);
  CHECK(lr({set("async.train.optimizer.lr", "0.75")}) == 0.75);
  CHECK(lr({set("async.train.optimizer.lr", "0.75"), set("train.optimizer.lr", "0.25")}) == 0.75);
  CHECK(lr({set("async.train.optimizer.lr", "0.75"), set("async.train.optimizer.lr", "1")}) == 1);
  CHECK(lr({set("sync.train.optimizer.lr", "7")}) == 0.5);
  CHECK(lr({set("async", "{max_staleness: 1, train: {optimizer: {lr: 3}}}")}) == 3);
  CHECK(sgd(read_job_text(kSmallSpec, "job.yaml", {set("sync.train.optimizer.lr", "7")})).lr == 7);
}

TEST_CASE("what is wrong with a mode's train is said where it stands, whatever the mode of the job") {
  CHECK(refusal_of(kSmallSpec, {set("async.train.optimizer.lr", "fast")}) ==
        "--set async.train.optimizer.lr=fast: error: async.train.optimizer.lr: expected a number of at least 0, found "
        "'fast'\n"
        "  --set async.train.optimizer.lr=fast\n"
        "                                 ^");
  CHECK(refusal_of(kSmallSpec, {set("async.train.optimiser.lr", "1")}).find("did you mean 'optimizer'?") !=
        std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("asinc.train.optimizer.lr", "1")}).find("did you mean 'async'?") !=
        std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("async.model", "1")}).find("unknown key 'model' in async") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("async.train", "[]")}).find("async.train: expected a map") != std::string::npos);
  CHECK(refusal_of(kSmallSpec, {set("async.train", "")}).find("async.train: expected a map") != std::string::npos);
  // What is wrong in general is said once.
  const std::string both =
      refusal_of(kSmallSpec + "seed: x\n", {set("train.epochs", "x"), set("async.train.steps", "1")});
  const std::size_t said = both.find("error: train.epochs: expected");
  CHECK(said != std::string::npos);
  CHECK(both.find("train.epochs: expected", said + 20) == std::string::npos);
  CHECK(refusal_of("[1]").find("expected a map") != std::string::npos);
  CHECK(refusal_of("async: {train: {epochs: 1}}\nmode: async\n").find("lacks the required key 'global_batch_size'") !=
        std::string::npos);
  CHECK(refusal_of("train: 5\nasync: {train: {epochs: 1}}\nmode: async\n").find("train: expected a map") !=
        std::string::npos);
}

TEST_CASE("the settings of a block, one by one") {
  const JobSpec job =
      read_job_text(kSmallSpec, "job.yaml", {set("train.optimizer", "{name: adam, betas: [0.5, 0.25]}")});
  const std::vector<Setting> train = settings_of(job, "train");
  const auto has = [&](const Setting& setting) {
    return std::find(train.begin(), train.end(), setting) != train.end();
  };
  CHECK(has({"train.epochs", "1"}));
  CHECK(has({"train.optimizer.name", "adam"}));
  CHECK(has({"train.optimizer.betas", "[0.5, 0.25]"}));
  CHECK(has({"train.micro_batch_size", "auto"}));
  CHECK(settings_of(job, "async").front() == Setting{"async.max_staleness", "null"});
  CHECK(settings_of(job, "sync").empty());
  // Each can be given to --set.
  std::vector<Override> overrides;
  for (const auto& [path, value] : train) overrides.push_back(set(path, value));
  overrides.insert(overrides.begin(), set("train.optimizer", "{name: adam}"));
  CHECK(read_job_text(kSmallSpec, "job.yaml", overrides).train == job.train);
}

}  // namespace dptrain::testing
