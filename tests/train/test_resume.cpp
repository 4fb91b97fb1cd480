// N steps, a stop, and M steps more have the bits of N + M steps, at whatever numbers of replicas.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "core/error.h"
#include "spec/reader.h"
#include "train/resumed_runs.h"

namespace dptrain {

namespace {

namespace fs = std::filesystem;
using test::PartsOfRun;

const Shape kShape{1, 6, 6};
constexpr const char* kMlp = "[flatten, {linear: 9}, relu, {dropout: 0.2}, {linear: 3}]";
constexpr const char* kCnn =
    "[{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {max_pool2d: 2}, {dropout: 0.1}, flatten, {linear: 3}]";

JobSpec job_of(const std::string& layers, const std::string& train, const std::string& more = "") {
  return read_job_text(
      fmt::format("name: small\ndataset: {{name: digits}}\nmodel:\n  input: [1, 6, 6]\n  layers: {}\n"
                  "train: {{global_batch_size: 16, micro_batch_size: 3, {}}}\ndevices: {{type: cpu}}\n{}\n",
                  layers, train, more),
      "small.yaml");
}

DevicesSpec cpus(std::int64_t count) {
  return {.type = DeviceType::cpu, .count = count, .threads_per_replica = 1, .share = false, .at = {}};
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

void check_same(const Summary& whole, const Summary& last) {
  CHECK(last.status == RunStatus::done);
  CHECK(last.weights_hash == whole.weights_hash);
  CHECK(last.steps == whole.steps);
  CHECK(last.samples == whole.samples);
  CHECK(same_bits(last.test_loss, whole.test_loss));
  CHECK(last.test_accuracy == whole.test_accuracy);
  CHECK(same_bits(last.ema_test_loss, whole.ema_test_loss));
}

}  // namespace

TEST_CASE("every optimizer, with dropout, accumulation, clipping and schedules, stopped in and at the end of epochs") {
  const char* const optimizers[] = {"{name: sgd, lr: 0.1}",
                                    "{name: sgd, lr: 0.1, momentum: 0.9}",
                                    "{name: sgd, lr: 0.1, momentum: 0.9, dampening: 0.1, weight_decay: 0.01}",
                                    "{name: sgd, lr: 0.1, momentum: 0.9, nesterov: true}",
                                    "{name: adam, lr: 0.01, weight_decay: 0.01}",
                                    "{name: adamw, lr: 0.01, weight_decay_on: weights}",
                                    "{name: rmsprop}",
                                    "{name: rmsprop, momentum: 0.9, weight_decay: 0.01}",
                                    "{name: adagrad, lr: 0.05}",
                                    "{name: lars, lr: 2, weight_decay: 0.001}",
                                    "{name: lamb}",
                                    "{name: muon, lr: 0.02}"};
  const char* const others[] = {"clip_grad_norm: 0.5",
                                "lr_schedule: {name: cosine, warmup_steps: 3}",
                                "lr_schedule: {name: one_cycle}, clip_grad_norm: 1",
                                "ema: {decay: 0.7}, lr_scaling: {name: sqrt, reference_batch_size: 8}",
                                "clip_grad_norm: 0.1, ema: {decay: 0.9}",
                                "lr_schedule: {name: step, step_size: 1}, shuffle: false"};
  std::size_t k = 0;
  for (const char* optimizer : optimizers) {
    for (const char* layers : {kMlp, kCnn}) {
      const JobSpec job =
          job_of(layers, fmt::format("epochs: 3, optimizer: {}, {}", optimizer, others[k++ % std::size(others)]));
      const PartsOfRun run{job, kShape, 43, 30};
      const Summary whole = run.whole();
      CHECK(whole.steps == 9);
      for (const std::int64_t stop_after : {1, 16 + 16, 43, 43 + 16}) {
        CAPTURE(optimizer);
        CAPTURE(layers);
        CAPTURE(stop_after);
        const test::TemporaryFolder folder;
        const Summary first = run.part(folder.path(), stop_after, cpus(4));
        CHECK(first.status == RunStatus::stopped);
        CHECK(first.steps < 9);
        check_same(whole, run.part(folder.path(), test::to_the_end, cpus(stop_after % 2 == 0 ? 1 : 3)));
      }
    }
  }
}

TEST_CASE("the weights' average is evaluated and saved, and is what a run can begin with") {
  const JobSpec job = job_of(kMlp, "steps: 6, optimizer: {name: sgd, lr: 0.3}, ema: {decay: 0.5}");
  const JobSpec without = job_of(kMlp, "steps: 6, optimizer: {name: sgd, lr: 0.3}");
  const PartsOfRun run{job, kShape, 43, 30};
  const test::TemporaryFolder folder;
  const Summary averaged = run.part(folder.path(), test::to_the_end, cpus(2));
  const Summary plain = PartsOfRun{without, kShape, 43, 30}.whole();
  CHECK(averaged.weights_hash == plain.weights_hash);
  CHECK(same_bits(averaged.test_loss, plain.test_loss));
  CHECK(std::isnan(plain.ema_test_loss));
  CHECK(std::isfinite(averaged.ema_test_loss));
  CHECK(averaged.ema_test_loss != averaged.test_loss);
  // Steps at a learning rate of 0 from the average: its loss is the one that was reported.
  const JobSpec still = job_of(kMlp, "steps: 1, optimizer: {name: sgd, lr: 0}");
  Reporter silent;
  const Summary begun = train(still, test::memory_pair(43, 30, kShape, 3), silent,
                              {.checkpoints = {.init_from = checkpoint_folder(folder.path(), 6) / "ema.safetensors"}});
  CHECK(same_bits(begun.test_loss, averaged.ema_test_loss));
}

TEST_CASE("a rollback takes the average back too") {
  const auto train = [](const char* more) {
    return job_of(
        kMlp, "steps: 8, optimizer: {name: lamb}, ema: {decay: 0.8}",
        fmt::format("checkpoint: {{every: 3 steps}}\nfaults: {{on_nan: rollback, rollback_lr_factor: 1}}\n{}", more));
  };
  const JobSpec straight = train(""), drilled = train("drills: [{at_step: 5, replica: 0, do: nan}]");
  const Summary whole = PartsOfRun{straight, kShape, 43, 30}.whole();
  const Summary rolled = PartsOfRun{drilled, kShape, 43, 30}.whole();
  CHECK(rolled.faults.size() == 1);
  CHECK(rolled.weights_hash == whole.weights_hash);
  CHECK(same_bits(rolled.ema_test_loss, whole.ema_test_loss));
}

TEST_CASE("stopped at every step in turn, by one to four replicas in turn") {
  const JobSpec job = job_of(kMlp, "steps: 8, optimizer: {name: adam, lr: 0.01}, clip_grad_norm: 0.5");
  const PartsOfRun run{job, kShape, 43, 30};
  const Summary whole = run.whole();
  const test::TemporaryFolder folder;
  for (std::int64_t step = 1; step < 8; ++step) {
    const Summary part = run.part(folder.path(), 1, cpus(1 + step % 4));
    CHECK(part.status == RunStatus::stopped);
    CHECK(part.steps == step);
  }
  check_same(whole, run.part(folder.path(), test::to_the_end, cpus(4)));
  // It is complete: nothing is left to be done, and the same comes out.
  const Summary again = run.part(folder.path(), test::to_the_end, cpus(2));
  check_same(whole, again);
}

TEST_CASE("checkpoints on the way change nothing, and each of them leads to the same end") {
  for (const char* every : {"1 steps", "2 steps", "1 epochs"}) {
    const JobSpec job =
        job_of(kCnn, "epochs: 3, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}",
               fmt::format("checkpoint: {{every: {}, keep: 100}}\nevaluate: {{every: 2 steps}}", every));
    const PartsOfRun run{job, kShape, 43, 30};
    const Summary whole = run.whole();
    const test::TemporaryFolder folder;
    check_same(whole, run.part(folder.path(), test::to_the_end, cpus(2)));
    int tried = 0;
    for (std::int64_t step = 9; step > 0; --step) {
      if (!fs::exists(checkpoint_folder(folder.path(), step))) continue;
      const test::TemporaryFolder other;
      fs::create_directories(other / "checkpoints");
      fs::copy(checkpoint_folder(folder.path(), step), checkpoint_folder(other.path(), step));
      check_same(whole, run.part(other.path(), test::to_the_end, cpus(3)));
      ++tried;
    }
    CHECK(tried >= 3);
  }
}

TEST_CASE("the best checkpoint is kept, among those that were evaluated") {
  const JobSpec job = job_of(kMlp, "steps: 9, optimizer: {name: sgd, lr: 0.5}",
                             "checkpoint: {every: 1 steps, keep: 1}\nevaluate: {every: 3 steps}");
  const PartsOfRun run{job, kShape, 43, 30};
  const test::TemporaryFolder folder;
  run.part(folder.path(), test::to_the_end, cpus(1));
  const auto last = newest_checkpoint(folder.path(), [](const std::string&) {});
  REQUIRE(last.has_value());
  const RunState& state = last->snapshot.state;
  CHECK(state.step == 9);
  CHECK(state.evaluated_step == 9);
  CHECK(state.best_step % 3 == 0);
  CHECK(fs::exists(checkpoint_folder(folder.path(), state.best_step)));
  CHECK(state.best_metric >= state.test_accuracy);
  std::ptrdiff_t kept = 0;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoints")) kept += entry.is_directory();
  CHECK(kept == (state.best_step == 9 ? 1 : 2));
}

TEST_CASE("a run that was stopped while its last evaluation ran is evaluated when it goes on") {
  const JobSpec job = job_of(kMlp, "steps: 4, optimizer: {name: sgd, lr: 0.1}");
  const PartsOfRun run{job, kShape, 43, 200};
  const Summary whole = run.whole();
  const test::TemporaryFolder folder;
  StopRequest stop{0};
  DatasetPair data = test::memory_pair(43, 200, kShape, 3);
  auto set = std::make_unique<test::MemoryDataset>(200, kShape, 3, 2);
  set->on_gather = [&](std::span<const std::int64_t>) { stop = 15; };
  data.test = std::move(set);
  Reporter silent;
  const Summary first =
      train(job, data, silent, {.stop = &stop, .evaluation_grace = 0, .checkpoints = {.run_folder = folder.path()}});
  CHECK(first.status == RunStatus::stopped);
  CHECK(first.steps == 4);
  CHECK(first.weights_hash == whole.weights_hash);
  check_same(whole, run.part(folder.path(), test::to_the_end, cpus(2)));
}

TEST_CASE("steps, samples and seconds of the parts add up") {
  const JobSpec job = job_of(kMlp, "steps: 8, optimizer: {name: sgd, lr: 0.1}", "log: {every: 3 steps}");
  const PartsOfRun run{job, kShape, 43, 30};
  const test::TemporaryFolder folder;
  const Summary first = run.part(folder.path(), 43, cpus(1));
  const double seconds = read_checkpoint(checkpoint_folder(folder.path(), first.steps)).snapshot.state.train_seconds;
  CHECK(seconds == first.train_seconds);
  const Summary last = run.part(folder.path(), test::to_the_end, cpus(1));
  CHECK(last.steps == 8);
  CHECK(last.samples == 43 + 43 + 16 + 16);
  CHECK(last.epochs == doctest::Approx(8.0 / 3));
  CHECK(last.train_seconds > first.train_seconds);
  CHECK(last.samples_per_second == doctest::Approx(static_cast<double>(last.samples) / last.train_seconds));
}

TEST_CASE(
    "a checkpoint beyond the job's last step is refused; one of another model is an error that names the tensor") {
  const JobSpec longer = job_of(kMlp, "steps: 8, optimizer: {name: sgd, lr: 0.1}");
  const test::TemporaryFolder folder;
  PartsOfRun{longer, kShape, 43, 30}.part(folder.path(), test::to_the_end, cpus(1));
  const auto status_of = [&](const JobSpec& job, const std::string& said) {
    try {
      PartsOfRun{job, kShape, 43, 30}.part(folder.path(), test::to_the_end, cpus(1));
    } catch (const Error& error) {
      INFO(std::string(error.what()));
      CHECK(std::string(error.what()).find(said) != std::string::npos);
      return error.status();
    }
    return ExitStatus::ok;
  };
  CHECK(status_of(job_of(kMlp, "steps: 5, optimizer: {name: sgd, lr: 0.1}"), "of step 8") == ExitStatus::usage);
  CHECK(status_of(job_of("[flatten, {linear: 8}, relu, {dropout: 0.2}, {linear: 3}]",
                         "steps: 9, optimizer: {name: sgd, lr: 0.1}"),
                  "4.weight is (3, 9), and this model's is (3, 8)") == ExitStatus::failed);
  CHECK(status_of(job_of(kMlp, "steps: 9, optimizer: {name: adam}"), "there is no tensor exp_avg.") ==
        ExitStatus::failed);
}

TEST_CASE("weights of a file instead of the seed's") {
  const JobSpec job = job_of(kMlp, "steps: 3, optimizer: {name: sgd, lr: 0.1}");
  const PartsOfRun run{job, kShape, 43, 30};
  const test::TemporaryFolder folder;
  const Summary first = run.part(folder.path(), test::to_the_end, cpus(1));
  JobSpec reseeded = job;
  reseeded.seed = 99;
  Reporter silent;
  std::string hash;
  for (const std::int64_t replicas : {1, 3}) {
    reseeded.devices = cpus(replicas);
    const Summary s = train(reseeded, test::memory_pair(43, 30, kShape, 3), silent,
                            {.checkpoints = {.init_from = checkpoint_folder(folder.path(), 3) / "model.safetensors"}});
    if (hash.empty()) hash = s.weights_hash;
    CHECK(s.weights_hash == hash);
    CHECK(s.weights_hash != first.weights_hash);
  }
  const Summary unmoved = train(reseeded, test::memory_pair(43, 30, kShape, 3), silent);
  CHECK(unmoved.weights_hash != hash);
}

}  // namespace dptrain
