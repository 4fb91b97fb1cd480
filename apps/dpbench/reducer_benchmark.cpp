#include <benchmark/benchmark.h>
#include <omp.h>

#include <atomic>
#include <thread>

#include "core/magnitude.h"
#include "dpbench/benchmarks.h"
#include "optim/optimizer.h"
#include "train/cpu/cpu_reducer.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

/// Runs `round` on `threads` threads, once for every iteration and in the same number on each.
template <class Round>
void run_together(benchmark::State& state, int threads, Round round) {
  std::atomic<bool> last{false};
  std::vector<std::thread> others;
  for (int r = 1; r < threads; ++r) {
    others.emplace_back([&, r] {
      do round(r, [] {});
      while (!last.load(std::memory_order_relaxed));
    });
  }
  for (auto _ : state) round(0, [] {});
  round(0, [&] { last.store(true, std::memory_order_relaxed); });
  for (std::thread& other : others) other.join();
}

/// Two threads that only meet: the latency between the cores of the moment, which every two-core figure depends on. One
/// iteration is two barriers, as in a step.
void meet(benchmark::State& state) {
  LocalGroup group(2);
  run_together(state, 2, [&](int, auto before_second) {
    group.barrier();
    before_second();
    group.barrier();
  });
}

/// Steps of the reducer on `replicas` threads with gradients that are there already; range(0) parameters, SGD with
/// momentum.
void reduce(benchmark::State& state, int replicas) {
  const std::int64_t floats = state.range(0);
  LocalGroup group(replicas);
  CpuReducer reducer(group, floats, 1, std::nullopt);
  std::vector<Buffer> gradients;
  for (int r = 0; r < replicas; ++r) {
    gradients.push_back(Buffer::host_floats(floats));
    reducer.lend(r, {gradients.back().floats()});
  }
  const StepPlan plan = plan_step(replicas, 1, replicas);
  const UpdateRule rule = MomentumRule{.lr = 0.1f, .buffer_decay = 0.9f};
  run_together(state, replicas, [&](int rank, auto before_update) {
    reducer.begin(rank, rule);
    reducer.gather(rank);
    if (rank == 0) before_update();
    reducer.update(rank, plan);
  });
  state.SetBytesProcessed(state.iterations() * floats * static_cast<std::int64_t>(sizeof(float)) * replicas);
}

/// What a step of each optimizer costs on one replica: 784-512-512-10, as two linear layers of 512 and one of 10.
void update(benchmark::State& state, const OptimizerSpec& spec) {
  std::vector<Parameter> parameters;
  const auto add = [&](const Shape& shape, ParameterRole role) {
    Parameter& added = parameters.emplace_back();
    added.desc.shape = shape;
    added.desc.stored_floats = shape.elements();
    added.desc.role = role;
  };
  for (const auto& [in, out] : {std::pair{784, 512}, std::pair{512, 512}, std::pair{512, 10}}) {
    add(Shape{out, in}, ParameterRole::weight);
    add(Shape{out}, ParameterRole::bias);
  }
  const ParameterTable table(std::move(parameters));
  TrainSpec train;
  train.optimizer = spec;
  const OptimizerSpec& optimizer = spec;
  LocalGroup group(1);
  CpuReducer reducer(group, table.floats(), state_buffers(optimizer), std::nullopt, update_plan(table, train));
  const Buffer gradient = Buffer::host_floats(table.floats());
  for (std::int64_t i = 0; i < table.floats(); ++i) gradient.floats()[i] = static_cast<float>(i % 101 - 50) * 1e-3f;
  reducer.load(gradient.floats());
  reducer.lend(0, {gradient.floats()}, &table);
  omp_set_num_threads(1);
  const StepPlan plan = plan_step(1, 1, 1);
  for (auto _ : state) {
    reducer.begin(0, rule_of(optimizer, 5, 1e-3));
    reducer.gather(0);
    reducer.update(0, plan);
  }
}

/// What a replica does to its gradient sums last: an addition, with or without a look at what comes out, or a look
/// alone where it has one micro-batch and adds nothing. The difference is what it costs to know that a step's gradients
/// are finite.
enum class Last { add, add_and_look, look };

void pass_over(benchmark::State& state, Last pass) {
  const std::int64_t floats = state.range(0);
  const Buffer target = Buffer::host_floats(floats), other = Buffer::host_floats(floats);
  float largest = 0;
  for (auto _ : state) {
    if (pass == Last::look) {
      largest = largest_magnitude(target.floats(), floats);
    } else if (pass == Last::add_and_look) {
      largest = add_and_find_largest(target.floats(), other.floats(), floats);
    } else {
      float* to = target.floats();
      for (std::int64_t i = 0; i < floats; ++i) to[i] += other.floats()[i];
    }
    benchmark::DoNotOptimize(largest);
    benchmark::ClobberMemory();
  }
}

}  // namespace

void register_reducer_benchmarks() {
  const std::pair<const char*, Last> passes[] = {
      {"finite/add", Last::add}, {"finite/add_and_look", Last::add_and_look}, {"finite/look", Last::look}};
  for (const auto& [name, pass] : passes) {
    benchmark::RegisterBenchmark(name, pass_over, pass)
        ->ArgName("parameters")
        ->Arg(25'450)
        ->Arg(407'050)
        ->Arg(10'000'000);
  }
  const std::pair<const char*, OptimizerSpec> optimizers[] = {{"sgd", SgdSpec{.lr = 0.1, .momentum = 0.9}},
                                                              {"adam", AdamSpec{}},
                                                              {"rmsprop", RmspropSpec{}},
                                                              {"adagrad", AdagradSpec{}},
                                                              {"lars", LarsSpec{}},
                                                              {"lamb", LambSpec{}},
                                                              {"muon", MuonSpec{}}};
  for (const auto& [name, spec] : optimizers) {
    const std::string full = std::string("update/") + name;
    benchmark::RegisterBenchmark(full.c_str(), update, spec)->UseRealTime();
  }
  benchmark::RegisterBenchmark("barrier/two_meetings", meet)->UseRealTime();
  for (const int replicas : {1, 2}) {
    const std::string name = "reducer/replicas:" + std::to_string(replicas);
    benchmark::RegisterBenchmark(name.c_str(), reduce, replicas)
        ->ArgName("parameters")
        ->Arg(25'450)
        ->Arg(407'050)
        ->Arg(1'200'000)
        ->Arg(10'000'000)
        ->UseRealTime();
  }
}

}  // namespace dptrain
