#include <benchmark/benchmark.h>

#include <thread>

#include "dpbench/benchmarks.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

/// Steps of the reducer on `replicas` threads with gradients that are there already; range(0) parameters, SGD with momentum.
void reduce(benchmark::State& state, int replicas) {
  const std::int64_t floats = state.range(0);
  LocalGroup group(replicas);
  GradientReducer reducer(group, floats, 1, std::nullopt);
  std::vector<Buffer> gradients;
  for (int r = 0; r < replicas; ++r) {
    gradients.push_back(Buffer::host_floats(floats));
    reducer.lend(r, {gradients.back().floats()});
  }
  const StepPlan plan = plan_step(replicas, 1, replicas);
  const UpdateRule rule = MomentumRule{.lr = 0.1f, .buffer_decay = 0.9f};
  bool last = false;
  std::vector<std::thread> others;
  for (int r = 1; r < replicas; ++r) {
    others.emplace_back([&, r] {
      do reducer.step(r, plan, rule, [] {});
      while (!last);
    });
  }
  for (auto _ : state) reducer.step(0, plan, rule, [] {});
  reducer.step(0, plan, rule, [&] { last = true; });
  for (std::thread& other : others) other.join();
  state.SetBytesProcessed(state.iterations() * floats * static_cast<std::int64_t>(sizeof(float)) * replicas);
}

}  // namespace

void register_reducer_benchmarks() {
  for (const int replicas : {1, 2}) {
    const std::string name = "reducer/replicas:" + std::to_string(replicas);
    benchmark::RegisterBenchmark(name.c_str(), reduce, replicas)
        ->ArgName("parameters")->Arg(25'450)->Arg(407'050)->Arg(1'200'000)->Arg(10'000'000)->UseRealTime();
  }
}

}  // namespace dptrain
