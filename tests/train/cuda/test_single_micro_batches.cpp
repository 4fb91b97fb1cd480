// A micro-batch by itself on a GPU, on the fake of CUDA: what Replica promises of it, and what it costs.
#include <vector>

#include "train/backend.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/gpu_modes.h"

namespace dptrain::test {

namespace {

/// A replica of a job's first micro-batches, and memory of its backend.
struct Alone {
  explicit Alone(const JobSpec& job_)
      : job(job_),
        placement(place(job, data.train->size())),
        schedule(job, data.train->size(), placement.replicas),
        backend(make_backend(job, placement)),
        replica(backend->make_replica(
            {.job = job, .schedule = schedule, .data = data, .steps = false, .single_sizes = schedule.batch_sizes()})),
        floats(static_cast<std::size_t>(replica->parameters().floats())),
        gradient(backend->host_buffer(floats * sizeof(float))) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      weights.push_back(backend->host_buffer(floats * sizeof(float)));
      replica->parameters().initialise(seed, weights.back().floats());
    }
  }

  /// The gradient, and behind it the loss and the largest magnitude.
  std::vector<double> compute(GradientTask task) {
    const MicroBatch& part = schedule.full().micro_batches[1];
    task.first = part.first;
    task.count = part.count;
    task.gradient = gradient.floats();
    const Replica::Gradient result = replica->gradient(task);
    std::vector<double> all(gradient.floats(), gradient.floats() + floats);
    all.push_back(result.loss.loss);
    all.push_back(result.largest);
    return all;
  }
  std::vector<double> evaluate() {
    std::vector<LossSum> sums(2);  // 70 samples in chunks of 64
    replica->evaluate(0, sums, [] { return false; });
    return {sums[0].loss, sums[1].loss};
  }

  DatasetPair data = async_data();
  JobSpec job;
  Placement placement;
  RunSchedule schedule;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Replica> replica;
  std::size_t floats;
  std::vector<Buffer> weights;
  Buffer gradient;
};

}  // namespace

TEST_CASE("a micro-batch by itself: the weights of its task, whatever was computed or evaluated before") {
  const Gpus gpus(1);
  Alone gpu(on_gpus(async_job(kAsyncCnn, 1, "{}"), 1)), cpu(async_job(kAsyncCnn, 1, "{}"));
  const float *one = gpu.weights[0].floats(), *other = gpu.weights[1].floats();
  const auto first = gpu.compute({.weights = one, .version = 7});
  // Elements lie in other places on the CPU.
  const auto on_cpu = cpu.compute({.weights = cpu.weights[0].floats(), .version = 7});
  for (const std::size_t from_end : {1, 2})
    CHECK(first[first.size() - from_end] == doctest::Approx(on_cpu[on_cpu.size() - from_end]).epsilon(1e-4));
  for (int again = 0; again < 3; ++again) {  // as it is, recorded, replayed
    const auto second = gpu.compute({.weights = other, .version = 8});
    CHECK(second != first);
    CHECK(gpu.compute({.weights = one, .version = 7}) == first);
    gpu.replica->bind_host(other);
    const auto evaluated = gpu.evaluate();
    // The same version as before, but other weights lie on the GPU since.
    CHECK(gpu.compute({.weights = one, .version = 7}) == first);
    CHECK(gpu.compute({.step = 1, .weights = one, .version = 7}) != first);
    gpu.replica->bind_host(one);
    CHECK(gpu.evaluate() != evaluated);
    gpu.replica->bind_host(other);
    CHECK(gpu.evaluate() == evaluated);
    cpu.replica->bind_host(cpu.weights[1].floats());
    CHECK(evaluated[0] == doctest::Approx(cpu.evaluate()[0]).epsilon(1e-4));
  }
}

TEST_CASE("samples that were loaded ahead are taken as they are") {
  const Gpus gpus(1);
  Alone gpu(on_gpus(async_job(kAsyncMlp, 1, "{}"), 1));
  CHECK(gpu.replica->needs_batches());
  const MicroBatch& part = gpu.schedule.full().micro_batches[1];
  const Sampler sampler(gpu.data.train->size(), gpu.job.seed, gpu.job.train.shuffle);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(part.count));
  std::vector<std::int32_t> labels(ids.size());
  std::vector<float> samples(ids.size() * static_cast<std::size_t>(kAsyncShape.elements()));
  sampler.order(0, part.first, ids);
  gpu.data.train->gather(ids, samples.data(), labels.data());
  const Batch batch{.ids = ids, .samples = samples.data(), .labels = labels.data()};
  const float* weights = gpu.weights[0].floats();
  for (int again = 0; again < 3; ++again)
    CHECK(gpu.compute({.weights = weights, .batch = &batch}) == gpu.compute({.weights = weights}));
}

TEST_CASE("weights go to the GPU where they are others, and nothing else does twice") {
  const Gpus gpus(1);
  Alone gpu(on_gpus(async_job(kAsyncMlp, 1, "{}"), 1));
  const auto enqueued = [&](std::int64_t version) {
    const std::int64_t before = fake_cuda::counters().enqueued;
    gpu.compute({.weights = gpu.weights[0].floats(), .version = version});
    return fake_cuda::counters().enqueued - before;
  };
  enqueued(1);
  enqueued(1);
  CHECK(enqueued(1) == 5);  // header, samples, the graph, the gradient, an event
  CHECK(enqueued(2) == 6);
  CHECK(enqueued(2) == 5);
}

TEST_CASE("a micro-batch allocates nothing, and is one graph between copies") {
  const Gpus gpus(1);
  const auto counted = [](const JobSpec& job) {
    const fake_cuda::Counters start = fake_cuda::counters();
    run_async_job(job);
    const fake_cuda::Counters end = fake_cuda::counters();
    return fake_cuda::Counters{end.allocations - start.allocations, end.enqueued - start.enqueued,
                               end.executed - start.executed, end.waits - start.waits};
  };
  const auto job = [](int epochs) {
    JobSpec spec = on_gpus(async_job(kAsyncCnn, 1, "{}"), 1);
    spec.train.epochs = epochs;
    spec.evaluate.every.reset();
    return spec;
  };
  const fake_cuda::Counters four = counted(job(4)), eight = counted(job(8));
  CHECK(eight.allocations == four.allocations);
  // An epoch has eleven of them: weights, header, samples, the graph, the gradient, an event; and at its rest the
  // weights once more.
  CHECK(eight.enqueued - four.enqueued == 4 * (11 * 6 + 2));
  CHECK(eight.waits - four.waits == 4 * (11 + 1));
}

}  // namespace dptrain::test
