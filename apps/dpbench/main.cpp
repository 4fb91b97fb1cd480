// dpbench: what the parts cost. `dpbench --benchmark_filter=step/mnist_mlp` runs some of them; --benchmark_format=json for
// scripts. Machines are noisy: compare ratios within one run, and give --benchmark_repetitions for medians.

#include <benchmark/benchmark.h>

#include "dpbench/benchmarks.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  dptrain::register_step_benchmarks();
  dptrain::register_loader_benchmarks();
  dptrain::register_reducer_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
