// --init-from: the first weights of a file are part of the run, and are kept with it.
#include <doctest/doctest.h>

#include <limits>

#include "apps/end_to_end.h"
#include "interop/safetensors.h"

namespace dptrain::test {

using nlohmann::json;

namespace {

/// Runs that start from the weights that another one left, in a.safetensors; b.safetensors has others.
struct FirstWeights : Workplace {
  FirstWeights() {
    for (const std::string name : {"a", "b"}) {
      REQUIRE(dptrain({"job.yaml", "--quiet", "--out", name, "--seed", name == "a" ? "5" : "6"}).status == 0);
      fs::copy(folder / name / "checkpoints/step-6/model.safetensors", folder / (name + ".safetensors"));
    }
  }
  Finished train(const std::vector<std::string>& more, const std::string& out = "run") const {
    std::vector<std::string> arguments = {"job.yaml", "--json", "--out",
                                          out,        "--set",  "checkpoint={every: 2 steps, keep: 1}"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return dptrain(arguments);
  }
  /// As if the process had been killed when only the checkpoints of these steps were there.
  void cut_back(const std::vector<std::string>& steps) const {
    fs::remove(folder / "run/summary.json");
    for (const auto& entry : fs::directory_iterator(folder / "run/checkpoints")) {
      if (std::find(steps.begin(), steps.end(), entry.path().filename()) == steps.end()) fs::remove_all(entry.path());
    }
  }
};

}  // namespace

TEST_CASE("first weights of a file are kept as the checkpoint of step 0, and verify starts from them") {
  const FirstWeights here;
  REQUIRE(here.train({"--init-from", "a.safetensors"}).status == 0);
  CHECK(fs::exists(here.folder / "run/checkpoints/step-0/manifest.json"));
  CHECK(has(read_text(here.folder / "run/job.yaml"), "--init-from"));
  const Finished done = here.dptrain({"verify", "run", "--all", "--devices", "1"});
  INFO(done.out);
  CHECK(done.status == 0);
  CHECK(has(done.out, "0 to 6 again"));
  CHECK(has(done.out, " as saved"));
  fs::remove_all(here.folder / "run/checkpoints/step-0");
  const Finished without = here.dptrain({"verify", "run"});
  CHECK(without.status == 1);
  CHECK(has(without.out, "NOT possible without checkpoints/step-0"));
  // A run from the seed has neither.
  REQUIRE(here.train({}, "seed").status == 0);
  CHECK_FALSE(fs::exists(here.folder / "seed/checkpoints/step-0"));
  CHECK_FALSE(has(read_text(here.folder / "seed/job.yaml"), "--init-from"));
}

TEST_CASE("a run from a file's weights that ends before its first checkpoint goes on from them") {
  const FirstWeights here;
  const std::string wanted = json::parse(here.train({"--init-from", "a.safetensors"}).out)["weights_hash"];
  here.cut_back({"step-0"});
  const Finished resumed = here.train({"--resume"});
  INFO(resumed.err);
  CHECK(resumed.status == 0);
  CHECK(json::parse(resumed.out)["weights_hash"] == wanted);
  CHECK(has(read_text(here.folder / "run/job.yaml"), "--init-from"));
  CHECK(here.dptrain({"verify", "run"}).status == 0);
  // Killed before even that was there.
  here.cut_back({});
  const Finished lost = here.train({"--resume"});
  CHECK(lost.status == 2);
  CHECK(has(lost.err, "give --init-from again"));
  const Finished again = here.train({"--resume", "--init-from", "a.safetensors"});
  INFO(again.err);
  CHECK(again.status == 0);
  CHECK(json::parse(again.out)["weights_hash"] == wanted);
  CHECK(fs::exists(here.folder / "run/checkpoints/step-0/manifest.json"));
}

TEST_CASE("--resume with --init-from is refused where the run began with other weights") {
  const FirstWeights here;
  const Finished first = here.train({"--init-from", "a.safetensors"});
  const Finished other = here.train({"--resume", "--init-from", "b.safetensors"});
  CHECK(other.status == 2);
  CHECK(has(other.err, "the run in run began with other weights"));
  CHECK(here.train({"--resume", "--init-from", "a.safetensors"}).out == first.out);  // it is complete
  here.cut_back({"step-0", "step-6"});
  CHECK(json::parse(here.train({"--resume", "--init-from", "a.safetensors"}).out)["weights_hash"] ==
        json::parse(first.out)["weights_hash"]);

  REQUIRE(here.train({}, "seed").status == 0);
  const Finished seed = here.train({"--resume", "--init-from", "a.safetensors"}, "seed");
  CHECK(seed.status == 2);
  CHECK(has(seed.err, "the run in seed began with the seed's weights"));
  CHECK(here.train({"--resume", "--init-from", "a.safetensors"}, "new").status == 0);  // there is no run yet
}

TEST_CASE("first weights that are not finite are refused") {
  const FirstWeights here;
  const SafetensorsFile file = read_safetensors(here.folder / "a.safetensors");
  std::vector<float> spoilt(file.floats("1.bias").begin(), file.floats("1.bias").end());
  spoilt.back() = std::numeric_limits<float>::quiet_NaN();
  std::vector<SafeTensorView> tensors;
  for (const auto& [name, tensor] : file.tensors)
    tensors.push_back({name, tensor.shape, name == "1.bias" ? std::span<const float>(spoilt) : file.floats(name)});
  write_safetensors(here.folder / "nan.safetensors", tensors);
  const Finished refused = here.train({"--init-from", "nan.safetensors"});
  CHECK(refused.status == 2);
  CHECK(has(refused.err, "holds values that are not finite"));
  CHECK_FALSE(fs::exists(here.folder / "run"));
}

TEST_CASE("filters that whiten stay what they are, under every optimizer and mode") {
  const Workplace here;
  std::string job = small_job;
  const std::string layers = "layers: [flatten,",
                    whitened = "layers: [{conv2d: {out_channels: 6, kernel_size: 3, init: whiten}}, flatten,";
  REQUIRE(has(job, layers));
  job.replace(job.find(layers), layers.size(), whitened);
  write_text(here.folder / "job.yaml", job);
  const auto trained = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"job.yaml", "--quiet", "--out", name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished done = here.dptrain(arguments);
    INFO(done.err);
    REQUIRE(done.status == 0);
    return read_safetensors(here.folder / name / "checkpoints/step-6/model.safetensors");
  };
  const auto tensor = [](const SafetensorsFile& file, const std::string& name) {
    const std::span<const float> values = file.floats(name);
    return std::vector<float>(values.begin(), values.end());
  };
  const SafetensorsFile first = trained("first", {"--set", "train.optimizer={name: sgd, lr: 1.0e-30}"});
  int k = 0;
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--set", "train.optimizer={name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.1}", "--set",
            "train.clip_grad_norm=0.5"},
           {"--set", "train.optimizer={name: adamw, lr: 0.01, weight_decay: 0.1}", "--set", "train.ema={decay: 0.9}"},
           {"--set", "train.optimizer={name: muon, lr: 0.1}"},
           {"--set", "train.optimizer={name: lamb, lr: 0.1}"},
           {"--mode", "local_sgd", "--set",
            "local_sgd={workers: 3, sync_every: 2, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9}}"},
           {"--mode", "local_sgd", "--set", "local_sgd={workers: 3, sync_every: 2}"},
           {"--mode", "async"}}) {
    CAPTURE(k);
    const SafetensorsFile last = trained("run" + std::to_string(k++), more);
    CHECK(tensor(last, "0.weight") == tensor(first, "0.weight"));
    CHECK(tensor(last, "0.bias") != tensor(first, "0.bias"));  // is trained
    CHECK(tensor(last, "2.weight") != tensor(first, "2.weight"));
  }
}

}  // namespace dptrain::test
