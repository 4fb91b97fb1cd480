// dpbench: what the parts cost. `dpbench step --config configs/mnist.yaml` says where a step goes, `mpirun -np 2
// dpbench sum` what it takes processes to add up their gradients; otherwise the benchmarks run that --benchmark_filter
// names, such as step/mnist_mlp, with --benchmark_format=json for scripts. Machines are noisy: compare ratios within
// one run, and give --benchmark_repetitions for medians.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string_view>

#include "core/error.h"
#include "dpbench/benchmarks.h"
#include "dpbench/step_profile.h"
#include "dpbench/sum_profile.h"

namespace {

int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return static_cast<int>(dptrain::ExitStatus::usage);
  dptrain::register_step_benchmarks();
  dptrain::register_loader_benchmarks();
  dptrain::register_reducer_benchmarks();
  dptrain::register_checkpoint_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1 && std::string_view(argv[1]) == "step") return dptrain::profile_step(argc - 1, argv + 1);
    if (argc > 1 && std::string_view(argv[1]) == "sum") return dptrain::profile_sum(argc - 1, argv + 1);
    return run_benchmarks(argc, argv);
  } catch (const dptrain::Error& error) {
    fmt::print(stderr, "dpbench: {}\n", error.what());
    return static_cast<int>(error.status());
  }
}
