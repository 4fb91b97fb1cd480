// Mode local_sgd on GPUs, on the fake of CUDA: one hash at any number of replicas and GPUs, and what ends a run.
#include <cstdint>

#include "train/cuda/fake_gpus.h"
#include "train/cuda/gpu_modes.h"

namespace dptrain::test {

TEST_CASE("local SGD: one hash at 1, 2 and 4 replicas, on one GPU or several; the CPU's result, to rounding") {
  const char* optimizer = "{name: sgd, lr: 0.05, momentum: 0.9}";
  for (const char* local : kLocals) {
    CAPTURE(local);
    const JobSpec job = local_job(local, "  clip_grad_norm: 1\nevaluate: {every: 12 steps}\n", optimizer);
    optimizer = "{name: adamw, lr: 0.01}";  // of the others
    const Summary cpu = run_local(job, 2);
    std::string wanted;
    std::uint64_t seed = 0;
    for (const int machine : kMachines) {
      const Gpus gpus(machine);
      for (const std::int64_t replicas : {1, 2, 4}) {
        // Warm-up is synchronous, and then replicas share one GPU or none.
        if (job.local_sgd.warmup_sync_steps > 0 && machine == 2 && replicas == 4) continue;
        CAPTURE(machine);
        CAPTURE(replicas);
        fake_cuda::set_seed(++seed);
        const Summary s = run_local_on_gpus(job, replicas);
        if (wanted.empty()) wanted = s.weights_hash;
        CHECK(s.weights_hash == wanted);
        CHECK(s.steps == 23);
        CHECK(s.test_loss == doctest::Approx(cpu.test_loss).epsilon(1e-3));
        CHECK(s.local_sgd->averages == cpu.local_sgd->averages);
      }
    }
  }
}

TEST_CASE("one worker on a GPU is sync there, to the bit") {
  const JobSpec job = local_job("{workers: 1, sync_every: 3}", "  clip_grad_norm: 1\n");
  JobSpec sync = job;
  sync.mode = Mode::sync;
  const Gpus gpus(1);
  CHECK(run_local_on_gpus(job, 1).weights_hash == run_local_on_gpus(sync, 2).weights_hash);
}

TEST_CASE("drills of local SGD on GPUs: a gradient that is not a number, a replica that fails") {
  const Gpus gpus(1);
  const auto drilled = [](const char* what, const char* local = "{workers: 4, sync_every: 4}") {
    return on_gpus(local_job(local, fmt::format("drills: [{{at_step: 5, replica: 1, do: {}}}]\n", what)), 2);
  };
  CHECK(contains(failure_on_gpus(drilled("nan"), local_data(), ExitStatus::failed),
                 "the gradient is not finite at step 5 "));
  CHECK(contains(failure_on_gpus(drilled("throw"), local_data(), ExitStatus::failed), "replica 1 failed in step 5"));
  // A synchronous step on GPUs has no such drill.
  CHECK(contains(failure_on_gpus(drilled("nan", "{workers: 4, warmup_sync_steps: 6}"), local_data(), ExitStatus::usage),
                 "this drill needs replicas on the CPU"));
}

TEST_CASE("replicas share some GPUs and not others only where they do not reduce there") {
  const Gpus gpus(2);
  CHECK(contains(
      failure_on_gpus(on_gpus(local_job("{workers: 4, warmup_sync_steps: 2}"), 4), local_data(), ExitStatus::usage),
      "4 replicas on 2 GPUs"));
  CHECK(run_local_on_gpus(local_job("{workers: 4}"), 4).devices == 2);
}

}  // namespace dptrain::test
