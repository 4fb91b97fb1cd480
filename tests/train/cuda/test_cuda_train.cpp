// Whole runs on GPUs, on the fake of CUDA: the promise of equal weights at any number of replicas that share a GPU or
// have one each, agreement with the CPU, and that no wait is missing, which the fake's random scheduler would show.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "core/error.h"
#include "data/open/open.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/small_jobs.h"
#include "train/resumed_runs.h"
#include "train/trainer.h"

namespace dptrain {

using namespace test;

namespace {

/// What must not depend on the number of replicas: the weights, and the loss of their average where one is kept.
std::string outcome(const Summary& s) {
  return fmt::format("{} {}", s.weights_hash, s.ema_test_loss);
}

}  // namespace

TEST_CASE("one GPU trains as the CPU does, to rounding") {
  const Gpus gpus(1);
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const Summary cpu = run(job_of(c, "{type: cpu, count: 1}")), gpu = run(job_of(c, "{type: cuda, count: 1}"));
    CHECK(gpu.device_type == "cuda");
    CHECK(gpu.steps == cpu.steps);
    CHECK(gpu.samples == cpu.samples);
    CHECK(gpu.final_loss == doctest::Approx(cpu.final_loss).epsilon(1e-3));
    CHECK(gpu.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
    CHECK(std::isnan(gpu.ema_test_loss) == std::isnan(cpu.ema_test_loss));
    if (!std::isnan(cpu.ema_test_loss)) CHECK(gpu.ema_test_loss == doctest::Approx(cpu.ema_test_loss).epsilon(1e-3));
    CHECK(gpu.weights_hash.size() == 32);
  }
}

TEST_CASE("replicas that share a GPU give one hash, in whatever order its queues run") {
  const Gpus gpus(1);
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const std::string wanted = outcome(run(job_of(c, "{type: cuda, count: 1}")));
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      for (const int replicas : {1, 2, 3}) {
        CAPTURE(seed);
        CAPTURE(replicas);
        fake_cuda::set_seed(seed);
        const Summary s = run(job_of(c, fmt::format("{{type: cuda, count: {}, share: true}}", replicas)));
        CHECK(outcome(s) == wanted);
        CHECK(s.replicas == replicas);
        CHECK(s.devices == 1);
      }
    }
  }
}

TEST_CASE("replicas on GPUs of their own give the hash of one GPU") {
  std::string wanted[std::size(kCases)];
  {
    const Gpus gpus(1);
    for (std::size_t k = 0; k < std::size(kCases); ++k)
      wanted[k] = outcome(run(job_of(kCases[k], "{type: cuda, count: 1}")));
  }
  for (const int replicas : {2, 3}) {
    const Gpus gpus(replicas);
    for (std::size_t k = 0; k < std::size(kCases); ++k) {
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        CAPTURE(kCases[k].name);
        CAPTURE(seed);
        CAPTURE(replicas);
        fake_cuda::set_seed(seed);
        const Summary s = run(job_of(kCases[k], fmt::format("{{type: cuda, count: {}}}", replicas)));
        CHECK(outcome(s) == wanted[k]);
        CHECK(s.devices == replicas);
      }
    }
  }
}

TEST_CASE("samples of odd sizes") {
  const auto run_odd = [](const std::string& devices) {
    Reporter silent;
    const DatasetPair data = test::memory_pair(43, 70, Shape{1, 5, 5}, 3);
    return train(odd_job(devices), data, silent);
  };
  std::string wanted;
  {
    const Gpus gpus(1);
    const Summary cpu = run_odd("{type: cpu, count: 1}"), gpu = run_odd("{type: cuda, count: 1}");
    CHECK(gpu.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
    wanted = gpu.weights_hash;
    CHECK(run_odd("{type: cuda, count: 2, share: true}").weights_hash == wanted);
  }
  const Gpus gpus(2);
  CHECK(run_odd("{type: cuda, count: 2}").weights_hash == wanted);
}

TEST_CASE("a dataset of bytes lies on the GPU, and gives the bits of one that is streamed there") {
  const auto run_digits = [](const std::string& devices, bool streamed) {
    const JobSpec job = read_job_text(
        fmt::format(
            "name: digits\ndataset: {{name: digits, train_samples: 90, test_samples: 70}}\nmodel:\n  input: [1, 28, "
            "28]\n  layers: [flatten, {{linear: 16}}, relu, {{dropout: 0.3}}, {{linear: 10}}]\ntrain: {{epochs: 2, "
            "global_batch_size: 32, micro_batch_size: 5, optimizer: {{name: sgd, lr: 0.1}}}}\ndevices: {}\n",
            devices),
        "digits.yaml");
    DatasetPair data = open_dataset(job.dataset, {});
    if (streamed) {
      data.train = std::make_unique<Streamed>(std::move(data.train));
      data.test = std::make_unique<Streamed>(std::move(data.test));
    }
    Reporter silent;
    return train(job, data, silent);
  };
  const Gpus gpus(1);
  const Summary cpu = run_digits("{type: cpu, count: 1}", false);
  const Summary streamed = run_digits("{type: cuda, count: 1}", true);
  CHECK(streamed.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    fake_cuda::set_seed(seed);
    const Summary resident = run_digits("{type: cuda, count: 1}", false);
    CHECK(resident.weights_hash == streamed.weights_hash);
    CHECK(resident.test_loss == streamed.test_loss);
    CHECK(run_digits("{type: cuda, count: 3, share: true}", false).weights_hash == streamed.weights_hash);
  }
}

TEST_CASE("a loss that is not finite ends a run on shared GPUs cleanly") {
  const Gpus gpus(1);
  JobSpec job = job_of(kCases[0], "{type: cuda, count: 3, share: true}");
  std::get<SgdSpec>(job.train.optimizer).lr = 1e30;
  CHECK_THROWS_AS(run(job), Error);
}

TEST_CASE("several buckets and slices: more than a million parameters") {
  for (const char* rest :
       {"optimizer: {name: sgd, lr: 0.05, momentum: 0.9}",
        "clip_grad_norm: 0.5, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}", "optimizer: {name: lamb, lr: 0.01}"}) {
    CAPTURE(rest);
    const std::string train = fmt::format("micro_batch_size: 4, {}", rest);
    const Case large{"large", "[flatten, {linear: 1200}, relu, {linear: 900}, relu, {linear: 3}]", train.c_str()};
    const auto run_on = [&](int gpus_there, const std::string& devices) {
      const Gpus gpus(gpus_there);
      JobSpec job = job_of(large, devices);
      job.train.epochs = 1;
      return run(job).weights_hash;
    };
    const std::string wanted = run_on(1, "{type: cuda, count: 1}");
    CHECK(run_on(1, "{type: cuda, count: 2, share: true}") == wanted);
    CHECK(run_on(3, "{type: cuda, count: 3}") == wanted);
  }
}

TEST_CASE("NCCL's own order, where nobody asks for the same bits, is right to rounding") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    Summary one, three;
    {
      const Gpus gpus(1);
      one = run(job_of(c, "{type: cuda, count: 1}"));
    }
    const Gpus gpus(3);
    three = run(job_of(c, "{type: cuda, count: 3}", "reproducible: false"));
    CHECK(three.final_loss == doctest::Approx(one.final_loss).epsilon(1e-3));
    CHECK(three.test_loss == doctest::Approx(one.test_loss).epsilon(1e-3));
  }
}

TEST_CASE("a step allocates nothing, and one GPU's step is one graph") {
  const Gpus gpus(1);
  fake_cuda::Counters before, after;
  const auto counted = [&](int epochs) {
    JobSpec job = job_of(kCases[1], "{type: cuda, count: 1}");
    job.train.epochs = epochs;
    const fake_cuda::Counters start = fake_cuda::counters();
    run(job);
    const fake_cuda::Counters end = fake_cuda::counters();
    return fake_cuda::Counters{end.allocations - start.allocations, end.enqueued - start.enqueued,
                               end.executed - start.executed, end.waits - start.waits};
  };
  // By then everything is recorded: of an epoch's last step there is one recording for each that may be under way.
  before = counted(8);
  after = counted(16);
  CHECK(after.allocations == before.allocations);
  // Three steps an epoch: copies of samples, ids, labels and constants, events, the graph, the losses' way back.
  const std::int64_t a_step = (after.enqueued - before.enqueued) / (8 * 3);
  CHECK(a_step <= 24);
}

TEST_CASE("steps that cannot be recorded run as they are, to the same bits, and the user is told") {
  const Gpus gpus(1);
  const auto run_with = [](const JobSpec& job) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(std::tmpfile(), &std::fclose),
        messages(std::tmpfile(), &std::fclose);
    Reporter reporter({.quiet = true, .output = output.get(), .messages = messages.get()}, std::nullopt);
    const std::string hash = train(job, memory_pair(43, 70, kShape, 3), reporter).weights_hash;
    std::rewind(messages.get());
    std::string said(4096, '\0');
    said.resize(std::fread(said.data(), 1, said.size(), messages.get()));
    return std::pair(hash, said);
  };
  for (const char* more : {"", "mode: async\nasync: {max_staleness: 0}"}) {
    CAPTURE(more);
    const JobSpec job = job_of(kCases[0], "{type: cuda, count: 2, share: true}", more);
    const auto [wanted, nothing] = run_with(job);
    CHECK(nothing.empty());
    fake_cuda::refuse_captures(true);
    const auto [hash, said] = run_with(job);
    fake_cuda::refuse_captures(false);
    CHECK(hash == wanted);
    CHECK(said.find("GPU 0 ran steps without a graph") != std::string::npos);
  }
}

TEST_CASE("what the bits rest on names CUDA's libraries for a job on GPUs, and the CPU's for one on the CPU") {
  const Gpus gpus(1);
  const DatasetPair data = memory_pair(43, 70, kShape, 3);
  const auto names = [&](const char* devices) {
    std::string all;
    for (const auto& [name, value] : basis_of(job_of(kCases[0], devices), data)) {
      CHECK_MESSAGE(!value.empty(), name);
      all += name + ";";
    }
    return all;
  };
  CHECK(names("{type: cuda, count: 1}").ends_with("CUDA runtime;cuDNN;cuBLASLt;NCCL;C library;build;"));
  CHECK(names("{type: cpu, count: 1}").ends_with("oneDNN;instruction set;C library;build;"));
}

TEST_CASE("stopped and gone on with on GPUs, shared, of their own, and at other numbers: the same bits") {
  struct Part {
    int gpus;
    const char* devices;
  };
  // The CPU has its own bits, and yet a run of one goes on on the other.
  const Part parts[] = {{1, "{type: cuda, count: 1}"},
                        {1, "{type: cuda, count: 2, share: true}"},
                        {3, "{type: cuda, count: 3}"},
                        {1, "{type: cuda, count: 3, share: true}"},
                        {2, "{type: cuda, count: 2}"}};
  for (const Case& c : {kCases[1], kCases[7]}) {
    CAPTURE(c.name);
    Summary whole;
    {
      const Gpus gpus(1);
      whole = run(job_of(c, parts[0].devices, "checkpoint: {every: 2 steps}"));
    }
    for (std::size_t first = 0; first < std::size(parts); ++first) {
      const JobSpec job = job_of(c, parts[first].devices, "checkpoint: {every: 2 steps}\nevaluate: {every: 4 steps}");
      const test::PartsOfRun run_of{job, kShape, 43, 70};
      const test::TemporaryFolder folder;
      Summary part;
      for (std::size_t k = 0; k < std::size(parts); ++k) {
        const Part& place = parts[(first + k) % std::size(parts)];
        const Gpus gpus(place.gpus);
        fake_cuda::set_seed(first + k + 1);
        const bool last = k + 1 == std::size(parts);
        const auto until = last ? test::to_the_end : std::int64_t{1};
        part = run_of.part(folder.path(), until, job_of(c, place.devices).devices);
        if (!last) CHECK(part.status == RunStatus::stopped);
      }
      CHECK(part.status == RunStatus::done);
      CHECK(part.weights_hash == whole.weights_hash);
      CHECK(part.test_loss == whole.test_loss);
      CHECK(part.samples == whole.samples);
    }

    const JobSpec job = job_of(c, parts[1].devices);
    const test::PartsOfRun run_of{job, kShape, 43, 70};
    const test::TemporaryFolder folder;
    {
      const Gpus gpus(1);
      CHECK(run_of.part(folder.path(), 1, job.devices).device_type == "cuda");
    }
    const Summary there = run_of.part(folder.path(), test::to_the_end, job_of(c, "{type: cpu, count: 2}").devices);
    CHECK(there.device_type == "cpu");
    CHECK(there.status == RunStatus::done);
    CHECK(there.final_loss == doctest::Approx(whole.final_loss).epsilon(0.3));
    CHECK(there.test_loss == doctest::Approx(whole.test_loss).epsilon(1e-3));
  }
}

TEST_CASE("recomputed blocks: the bits of those that are kept, on a GPU of their own and shared") {
  const Gpus gpus(1);
  for (const char* name : {"norms and residual blocks", "cnn with clipping and adam"}) {
    CAPTURE(name);
    const Case& c = *std::find_if(std::begin(kCases), std::end(kCases),
                                  [&](const Case& one) { return std::string(one.name) == name; });
    const std::string wanted = outcome(run(job_of(c, "{type: cuda, count: 1}")));
    for (const int replicas : {1, 2}) {
      JobSpec job = job_of(c, fmt::format("{{type: cuda, count: {}, share: true}}", replicas));
      for (LayerSpec& layer : job.model.layers) {
        if (std::holds_alternative<ResidualSpec>(layer.op)) layer.recompute = {1};
      }
      job.model.layers.front().recompute = {6};  // a convolution up to a block, or up to the last linear layer
      CHECK(outcome(run(job)) == wanted);
    }
  }
}

TEST_CASE("norms over the step: the CPU's result to rounding, and one hash on shared GPUs and on their own") {
  for (const char* more : {"", "precision: bf16, ", "reproducible"}) {
    CAPTURE(more);
    const bool reproducible = std::string(more) != "reproducible";
    const std::string train = (reproducible ? more : "") + std::string(kNormsOverTheStep.train);
    const Case c{kNormsOverTheStep.name, kNormsOverTheStep.layers, train.c_str()};
    const auto run_on = [&](int gpus_there, const std::string& devices, std::uint64_t seed = 1) {
      const Gpus gpus(gpus_there);
      fake_cuda::set_seed(seed);
      return run(job_of(c, devices, reproducible ? "" : "reproducible: false"));
    };
    const Summary cpu = run_on(1, "{type: cpu, count: 2}"), one = run_on(1, "{type: cuda, count: 1}");
    const double rounding = std::string(more).empty() || !reproducible ? 1e-3 : 0.05;
    CHECK(one.final_loss == doctest::Approx(cpu.final_loss).epsilon(rounding));
    CHECK(one.test_loss == doctest::Approx(cpu.test_loss).epsilon(rounding));
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      for (const int replicas : {2, 3}) {
        CAPTURE(replicas);
        const std::string shared = fmt::format("{{type: cuda, count: {}, share: true}}", replicas);
        CHECK(outcome(run_on(1, shared, seed)) == outcome(one));
        const Summary own = run_on(replicas, fmt::format("{{type: cuda, count: {}}}", replicas), seed);
        if (reproducible) CHECK(outcome(own) == outcome(one));
        CHECK(own.test_loss == doctest::Approx(one.test_loss).epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("what GPUs cannot do is refused before anything runs") {
  const Gpus gpus(2);
  try {
    run(job_of(kCases[0], "{type: cuda, count: 4, share: true}"));
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::usage);
    CHECK(std::string(error.what()).find("2 GPUs") != std::string::npos);
  }
}

}  // namespace dptrain
