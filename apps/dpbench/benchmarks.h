// Purpose: the benchmarks, each family in a file of its own; main() runs those that --benchmark_filter names.
// Thread safety: one thread registers and runs; a benchmark starts the threads that it measures.
#pragma once

namespace dptrain {

/// A whole training step: every config at 1 and 2 replicas, as the trainer runs it.
void register_step_benchmarks();
/// Naming, gathering and normalising batches: the loader alone, with and without a worker.
void register_loader_benchmarks();
/// Adding the gradient sums, dividing and updating: the reducer alone.
void register_reducer_benchmarks();
/// A checkpoint's parts: what training waits for, and what happens beside it.
void register_checkpoint_benchmarks();

}  // namespace dptrain
