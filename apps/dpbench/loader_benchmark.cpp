#include <benchmark/benchmark.h>

#include "data/loader.h"
#include "data/sampler.h"
#include "dpbench/benchmarks.h"
#include "dpbench/random_dataset.h"

namespace dptrain {

namespace {

void load(benchmark::State& state, bool worker) {
  constexpr std::int64_t kSamples = 60000, kSlots = 4;
  const std::int64_t batch = state.range(0);
  const auto dataset = random_dataset(kSamples, Shape{1, 28, 28}, 10);
  const Sampler sampler(kSamples, 1, true);
  std::int64_t position = 0, epoch = 0;
  Loader loader(
      *dataset,
      [&](std::span<std::int64_t> ids) {
        if (position + batch > kSamples) {
          position = 0;
          ++epoch;
        }
        sampler.order(epoch, position, ids);
        position += batch;
        return ids.size();
      },
      batch, kSlots, worker);
  for (auto _ : state) {
    benchmark::DoNotOptimize(loader.next().samples[0]);
    loader.release();
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

}  // namespace

void register_loader_benchmarks() {
  for (const bool worker : {false, true}) {
    benchmark::RegisterBenchmark(worker ? "loader/worker" : "loader/inline", load, worker)
        ->ArgName("batch")
        ->Arg(1)
        ->Arg(32)
        ->Arg(256)
        ->UseRealTime();
  }
}

}  // namespace dptrain
