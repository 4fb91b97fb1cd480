// GPUs in several processes, on the doubles of CUDA and NCCL: the weights of one, who takes which GPU, and what is
// refused.
#include <doctest/doctest.h>

#include "apps/gpu_ranks.h"

namespace dptrain::test {

namespace {

const std::vector<std::string> kRun = {"job.yaml", "--quiet", "--fresh", "--out", "run"};

std::vector<std::string> run_with(const std::vector<std::string>& settings) {
  std::vector<std::string> arguments = kRun;
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  return arguments;
}

}  // namespace

TEST_CASE("gpu processes: 1 x 1, 1 x 4, 2 x 2, 2 + 1 + 1 and 4 x 1 give one hash and one loss") {
  SKIP_WITHOUT_RANKS();
  for (const std::string& job : {gpu_mlp, gpu_cnn}) {
    const GpuRanks here(job);
    const std::string whole = here.weights(here.alone(run_with({"devices.count=1"})), "run");
    const double test_loss = here.summary("run")["test_loss"], final_loss = here.summary("run")["final_loss"];
    const auto check = [&](const Finished& finished) {
      CHECK(here.weights(finished, "run") == whole);
      CHECK(here.summary("run")["test_loss"] == test_loss);
      CHECK(here.summary("run")["final_loss"] == final_loss);
      CHECK(here.summary("run")["device_type"] == "cuda");
      CHECK(here.summary("run")["devices"] == 4);
      CHECK(here.summary("run")["replicas"] == 4);
    };
    check(here.alone(kRun));
    for (const int ranks : {2, 3, 4}) {
      for (const std::string shared : {"on", "off"}) {
        CAPTURE(ranks);
        CAPTURE(shared);
        check(here.together(ranks, kRun, {{"DPTRAIN_SHARED_MEMORY", shared}}));
      }
    }
    CHECK(fs::is_empty(here.nccl()));  // every communicator was closed by all its ranks
  }
}

TEST_CASE("gpu processes: NCCL's own order, where nobody asks for the same bits, is right to rounding") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  here.weights(here.alone(run_with({"devices.count=1"})), "run");
  const double test_loss = here.summary("run")["test_loss"];
  for (const int ranks : {2, 3}) {
    here.weights(here.together(ranks, run_with({"reproducible=false", "train.micro_batch_size=7"})), "run");
    CHECK(here.summary("run")["test_loss"].get<double>() == doctest::Approx(test_loss).epsilon(1e-3));
  }
}

TEST_CASE("gpu processes: one hash in 16 bits, and one loss scale, which all bring down together") {
  SKIP_WITHOUT_RANKS();
  for (const std::string precision : {"bf16", "fp16"}) {
    CAPTURE(precision);
    const GpuRanks here(gpu_cnn);
    const auto settings = [&](const std::string& devices) {
      return run_with({"train.precision=" + precision, "train.loss_scale={init_scale: 8388608, growth_interval: 3}",
                       "devices.count=" + devices});
    };
    const std::string whole = here.weights(here.alone(settings("1")), "run");
    const nlohmann::json scale = here.summary("run")["loss_scale"];
    CHECK(scale.is_object() == (precision == "fp16"));
    if (scale.is_object()) CHECK(scale["skipped_steps"] > 0);
    for (const int ranks : {2, 3}) {
      CHECK(here.weights(here.together(ranks, settings("4")), "run") == whole);
      CHECK(here.summary("run")["loss_scale"] == scale);
    }
  }
}

TEST_CASE(
    "gpu processes: one hash where the optimizer looks at whole tensors, norms at whole steps, or a step is left out") {
  SKIP_WITHOUT_RANKS();
  const std::string sync_norm =
      std::string(gpu_cnn).replace(gpu_cnn.find("batch_norm"), 10, "{batch_norm: {sync: true}}");
  const std::string lamb = "train.optimizer={name: lamb, lr: 0.01}",
                    muon = "train.optimizer={name: muon, lr: 0.02, adamw_lr: 0.01}";
  const std::string nan = "drills=[{at_step: 4, replica: 0, do: nan}]";
  const std::pair<std::string, std::vector<std::string>> cases[] = {
      {gpu_cnn, {lamb}},
      {gpu_cnn, {muon, "train.clip_grad_norm=0.5"}},
      {sync_norm, {"drills=[{at_step: 1, replica: 0, do: slow, factor: 2}]"}},
      {sync_norm, {"faults.on_nan=skip", nan}},
      {gpu_cnn, {"faults={on_nan: rollback, rollback_lr_factor: 0.5}", "checkpoint.every=2 steps", nan, muon}}};
  for (const auto& [job, settings] : cases) {
    CAPTURE(settings.size());
    const GpuRanks here(job);
    std::vector<std::string> one = settings;
    one.push_back("devices.count=1");
    const std::string whole = here.weights(here.alone(run_with(one)), "run");
    for (const int ranks : {2, 3}) CHECK(here.weights(here.together(ranks, run_with(settings)), "run") == whole);
  }
}

TEST_CASE("gpu processes: what travels in bf16 between processes is right to its rounding") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const auto settings = [](const std::string& communication) {
    return run_with({"reproducible=false", "train.micro_batch_size=7", "train.communication=" + communication});
  };
  here.weights(here.together(2, settings("fp32")), "run");
  const double test_loss = here.summary("run")["test_loss"];
  here.weights(here.together(2, settings("bf16")), "run");
  CHECK(here.summary("run")["test_loss"].get<double>() != test_loss);
  CHECK(here.summary("run")["test_loss"].get<double>() == doctest::Approx(test_loss).epsilon(0.02));
  // Two GPUs, each of which is the first one to its process.
  const Finished apart = here.apart(
      run_with({"reproducible=false", "train.micro_batch_size=7", "devices.count=2", "train.communication=bf16"}),
      {{"CUDA_VISIBLE_DEVICES", "0"}}, {{"CUDA_VISIBLE_DEVICES", "1"}});
  CHECK(apart.status == 0);
  CHECK_FALSE(has(apart.err, "it has no effect"));
}

TEST_CASE("gpu processes: a run goes on with any number of them, and with the optimizer's whole state") {
  SKIP_WITHOUT_RANKS();
  for (const std::string& job : {gpu_mlp, gpu_cnn}) {
    const GpuRanks here(job);
    const std::string whole = here.weights(here.alone({"job.yaml", "--quiet", "--out", "whole"}), "whole");
    const int steps = here.summary("whole")["steps"];
    const auto part = [&](int until) {
      return std::vector<std::string>{"job.yaml",
                                      "--quiet",
                                      "--resume",
                                      "--out",
                                      "run",
                                      "--set",
                                      "train.steps=" + std::to_string(until),
                                      "--set",
                                      "checkpoint.every=2 steps"};
    };
    CHECK(here.together(4, part(steps / 4)).status == 0);
    CHECK(here.alone(part(steps / 2)).status == 0);
    CHECK(here.together(3, part(3 * steps / 4)).status == 0);
    const Finished last = here.together(2, part(steps));
    CHECK(here.weights(last, "run") == whole);
    CHECK_FALSE(has(last.err, "warning"));
  }
}

TEST_CASE("gpu processes: each takes the GPUs that the launcher leaves it") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const std::string whole = here.weights(here.alone(run_with({"devices.count=1"})), "run");
  const std::vector<std::string> any = run_with({"devices.count=auto"});
  CHECK(here.weights(here.apart(any, {{"CUDA_VISIBLE_DEVICES", "2"}}, {{"CUDA_VISIBLE_DEVICES", "0,3"}}), "run") ==
        whole);
  CHECK(here.summary("run")["replicas"] == 3);
  CHECK(here.summary("run")["devices"] == 3);
  // Three of four, as equal as can be: the second one uses one of its two.
  CHECK(here.weights(here.together(2, run_with({"devices.count=3"})), "run") == whole);
  // All of what all see, and at most one for each of the ten micro-batches.
  CHECK(here.weights(here.together(2, any), "run") == whole);
  CHECK(here.summary("run")["replicas"] == 4);
  CHECK(here.weights(here.together(2, any,
                                   {{"FAKE_CUDA_DEVICES", "16"},
                                    {"CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15"}}),
                     "run") == whole);
  CHECK(here.summary("run")["replicas"] == 10);
}

TEST_CASE("gpu processes: local_sgd and async in step have the weights of one process, and a record replays") {
  SKIP_WITHOUT_RANKS();
  const std::vector<std::vector<std::string>> modes = {
      {"mode=async", "async={max_staleness: 0}"},
      {"mode=local_sgd", "local_sgd={workers: 5, sync_every: 2}"},
      // The optimizer's state, of which each GPU has a part in warm-up, goes to every host's workers.
      {"mode=local_sgd", "local_sgd={workers: 4, sync_every: 2, worker_state: keep, warmup_sync_steps: 3}"}};
  const GpuRanks here(std::string(gpu_cnn).replace(gpu_cnn.find("ema: {decay: 0.9}, "), 19, ""));
  const std::string sync = here.weights(here.alone(kRun), "run");
  for (const std::vector<std::string>& mode : modes) {
    CAPTURE(mode.back());
    const std::string whole = here.weights(here.alone(run_with(mode)), "run");
    CHECK((whole == sync) == (mode.front() == "mode=async"));
    for (const int ranks : {2, 3}) {
      for (const std::string shared : {"on", "off"}) {
        CAPTURE(ranks);
        CAPTURE(shared);
        CHECK(here.weights(here.together(ranks, run_with(mode), {{"DPTRAIN_SHARED_MEMORY", shared}}), "run") == whole);
      }
    }
  }
  const Finished recorded = here.together(3, run_with({"mode=async", "async={max_staleness: 2, record: true}"}),
                                          {{"DPTRAIN_SHARED_MEMORY", "off"}});
  here.weights(recorded, "run");
  CHECK(here.dptrain({"replay", "run"}, here.gpus()).status == 0);
}

TEST_CASE("gpu processes: what does not fit is refused, by name") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const auto check = [&](const Finished& finished, const std::string& why) {
    INFO(finished.err);
    CHECK(finished.status == 2);
    CHECK(has(finished.err, why));
    CHECK_FALSE(fs::exists(here.folder / "run"));
  };
  const auto refused = [&](int ranks, const std::vector<std::string>& settings, const std::string& why,
                           const GpuRanks::Environment& more = {}) {
    check(here.together(ranks, run_with(settings), more), why);
  };
  refused(2, {"devices.count=1"}, "devices.count: 1 for 2 processes");
  refused(2, {"devices.count=5"}, "the job asks for 5 GPUs, and its 2 processes have 4");
  refused(2, {"devices.count=auto"}, "have 1 GPU between them: two would be on one", {{"CUDA_VISIBLE_DEVICES", "0"}});
  refused(2, {}, "the job asks for GPUs, and rank 0 on ", {{"FAKE_CUDA_DEVICES", "0"}});
  refused(2, {"balance=auto"}, "balance: auto is for one process");

  const std::vector<std::string> any = run_with({"devices.count=auto"});
  check(here.apart(any, {}, {{"FAKE_CUDA_DEVICES", "0"}}), "the job asks for GPUs, and rank 1 on ");
  check(here.apart(run_with({"devices={}"}), {}, {{"FAKE_CUDA_DEVICES", "0"}}), "a job is on one kind of device");
  check(here.apart(any, {{"CUDA_VISIBLE_DEVICES", "0,1"}}, {{"CUDA_VISIBLE_DEVICES", "1,2"}}),
        "see some GPUs both, and others not");
  check(here.apart(any, {}, {{"FAKE_CUDA_NAME", "Another GPU"}}),
        "with reproducible: true all GPUs have to be of one kind");
  check(here.apart(any, {}, {{"FAKE_CUDNN_VERSION", "92000"}}), " has cuDNN 92000, and rank 0 on ");
  for (const std::string reproducible : {"reproducible=true", "reproducible=false"})
    check(here.apart(run_with({"devices.count=auto", reproducible, "train.micro_batch_size=7"}), {},
                     {{"FAKE_NCCL_VERSION", "22900"}}),
          " has NCCL 22900, and rank 0 on ");
  CHECK(here.apart(run_with({"devices.count=auto", "reproducible=false", "train.micro_batch_size=7"}), {},
                   {{"FAKE_CUDA_NAME", "Another GPU"}, {"FAKE_CUDNN_VERSION", "92000"}})
            .status == 0);
}

TEST_CASE("gpu processes: two on one GPU where the job and NCCL let them, and nowhere else") {
  SKIP_WITHOUT_RANKS();
  const GpuRanks here;
  const std::string whole = here.weights(here.alone(run_with({"devices.count=1"})), "run");
  const std::vector<std::string> sharing = run_with({"devices={type: cuda, count: 3, share: true}"});
  const GpuRanks::Environment one = {{"CUDA_VISIBLE_DEVICES", "1"}};
  const auto with = [&](GpuRanks::Environment more) {
    more.insert(one.begin(), one.end());
    return more;
  };
  const Finished old = here.together(2, sharing, one);
  CHECK(old.status == 2);
  CHECK(has(old.err, "would be on one GPU"));
  CHECK(has(old.err, "lets ranks share one from 2.30 on"));
  const Finished unasked = here.together(2, sharing, with({{"FAKE_NCCL_VERSION", "23001"}}));
  CHECK(unasked.status == 2);
  CHECK(has(unasked.err, "NCCL_MULTI_RANK_GPU_ENABLE=1"));
  const Finished shared =
      here.together(2, sharing, with({{"FAKE_NCCL_VERSION", "23001"}, {"NCCL_MULTI_RANK_GPU_ENABLE", "1"}}));
  CHECK(here.weights(shared, "run") == whole);
  CHECK(here.summary("run")["devices"] == 1);
  CHECK(here.summary("run")["replicas"] == 3);
}

}  // namespace dptrain::test
