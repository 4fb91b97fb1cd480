// Modes async and local_sgd on GPUs, on the fake of CUDA: where the samples lie, runs that are stopped and gone on with
// elsewhere, and runs that diverge.
#include <cstdint>

#include "data/open/open.h"
#include "support/process.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/gpu_modes.h"
#include "train/resumed_runs.h"

namespace dptrain::test {

TEST_CASE("a dataset that lies on the GPU gives the bits of one that is streamed there") {
  const auto run_digits = [](const char* mode, int replicas, bool streamed) {
    const JobSpec job = read_job_text(
        fmt::format(
            "name: digits\ndataset: {{name: digits, train_samples: 90, test_samples: 70}}\nmodel:\n  input: [1, 28, "
            "28]\n  layers: [flatten, {{linear: 16}}, relu, {{dropout: 0.3}}, {{linear: 10}}]\ntrain: {{epochs: 2, "
            "global_batch_size: 32, micro_batch_size: 5, optimizer: {{name: sgd, lr: 0.1}}}}\nmode: {}\nasync: "
            "{{max_staleness: 0}}\nlocal_sgd: {{workers: 3, sync_every: 2}}\n",
            mode),
        "digits.yaml");
    DatasetPair data = open_dataset(job.dataset, {});
    if (streamed) {
      data.train = std::make_unique<Streamed>(std::move(data.train));
      data.test = std::make_unique<Streamed>(std::move(data.test));
    }
    Reporter silent;
    return train(on_gpus(job, replicas), data, silent);
  };
  const Gpus gpus(2);
  for (const char* mode : {"async", "local_sgd"}) {
    CAPTURE(mode);
    const Summary streamed = run_digits(mode, 1, true);
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      fake_cuda::set_seed(seed);
      const Summary resident = run_digits(mode, 3, false);
      CHECK(resident.weights_hash == streamed.weights_hash);
      CHECK(resident.test_loss == streamed.test_loss);
      CHECK(run_digits(mode, 2, true).weights_hash == streamed.weights_hash);
    }
  }
  CHECK(run_digits("sync", 2, false).weights_hash == run_digits("async", 2, false).weights_hash);
}

TEST_CASE("a rate that is far too large ends a run on GPUs, and nothing is left of it") {
  const Gpus gpus(2);
  const Override rate{"--set", "train.optimizer", "{name: sgd, lr: 1e20}"};
  CHECK(contains(failure_on_gpus(on_gpus(async_job(kAsyncMlp, 3, "{}", {rate}), 3), async_data(), ExitStatus::failed),
                 "training has diverged"));
  CHECK(contains(failure_on_gpus(on_gpus(local_job("{workers: 4}", "", "{name: sgd, lr: 1.0e+20}"), 3), local_data(),
                                 ExitStatus::failed),
                 "training has diverged"));
}

TEST_CASE("stopped and gone on with on other GPUs, and on the CPU") {
  struct Part {
    int gpus;
    std::int64_t replicas;
  };
  const Part places[] = {{1, 2}, {2, 2}, {1, 1}, {3, 3}};
  const auto check_parts = [&](const JobSpec& job, const Shape& shape, std::int64_t train_samples,
                               std::int64_t samples_a_part, bool same_bits) {
    const PartsOfRun parts{.job = job, .shape = shape, .train_samples = train_samples, .test_samples = 40};
    Summary whole;
    {
      const Gpus gpus(1);
      const JobSpec alone = on_gpus(job, 1);
      whole = PartsOfRun{.job = alone, .shape = shape, .train_samples = train_samples, .test_samples = 40}.whole();
    }
    const TemporaryFolder folder;
    Summary part;
    int stops = 0;
    for (const Part& place : places) {
      const Gpus gpus(place.gpus);
      fake_cuda::set_seed(static_cast<std::uint64_t>(++stops));
      const bool last = &place == std::end(places) - 1;
      part = parts.part(folder.path(), last ? to_the_end : samples_a_part, on_gpus(job, place.replicas).devices);
      CHECK(part.status == (last ? RunStatus::done : RunStatus::stopped));
    }
    CHECK(part.steps == whole.steps);
    CHECK(part.samples == whole.samples);
    if (same_bits) {
      CHECK(part.weights_hash == whole.weights_hash);
      CHECK(part.test_loss == whole.test_loss);
    }

    const TemporaryFolder other;
    {
      const Gpus gpus(1);
      CHECK(parts.part(other.path(), samples_a_part, on_gpus(job, 2).devices).device_type == "cuda");
    }
    const Summary there = parts.part(other.path(), to_the_end, job.devices);
    CHECK(there.device_type == "cpu");
    CHECK(there.status == RunStatus::done);
    if (same_bits) CHECK(there.test_loss == doctest::Approx(whole.test_loss).epsilon(1e-3));
  };
  for (const char* block : {"{max_staleness: 0}", "{}", "{updates: hogwild, max_staleness: 2}"}) {
    CAPTURE(block);
    const bool same_bits = std::string(block) == "{max_staleness: 0}";
    check_parts(async_job(kAsyncCnn, 2, block), kAsyncShape, kAsyncSamples, 10, same_bits);
  }
  for (const char* local : kLocals) {
    CAPTURE(local);
    JobSpec job = local_job(local, "  lr_schedule: {name: cosine, warmup_steps: 3}\n");
    job.devices = {.type = DeviceType::cpu, .count = 2, .at = {}};
    check_parts(job, local_input, 75, 40, true);
  }
}

}  // namespace dptrain::test
