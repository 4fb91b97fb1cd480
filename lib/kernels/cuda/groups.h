// Purpose: the other way in which the project's own kernels run: bodies whose threads work in groups and in phases.
//   Between two phases the threads of a group meet, and each sees what the others have left in the memory that the
//   group shares. For .cu files alone; the tests have a header of this name that runs bodies on the host, the threads
//   of a phase in another order every time.
// Thread safety, errors: as in launch.h. Invariants: the host does not wait. Every thread of a group runs every phase.
//   Within a phase no thread reads what another one writes in it, nor does a group read what another one writes, but
//   for phases from Body::kLast on, see below.
//
// A body is trivially copyable and has
//   kThreads            of a group;
//   kPhases;
//   Shared, Thread      trivial types: what a group shares, and what a thread keeps from one phase to the next;
//   template <int phase> DPTRAIN_HD void run(std::int64_t group, int thread, Shared&, Thread&) const.
#pragma once

#include <cstdint>
#include <type_traits>

#include "device/cuda/runtime.h"

namespace dptrain::cuda {

template <int phase, int end, class Body>
__device__ void run_phases(const Body& body, int thread, typename Body::Shared& shared, typename Body::Thread& mine) {
  if constexpr (phase < end) {
    if constexpr (phase > 0) __syncthreads();
    body.template run<phase>(std::int64_t{blockIdx.x}, thread, shared, mine);
    run_phases<phase + 1, end>(body, thread, shared, mine);
  }
}

template <class Body>
__global__ void __launch_bounds__(Body::kThreads) run_groups(Body body) {
  __shared__ typename Body::Shared shared;
  typename Body::Thread mine;
  run_phases<0, Body::kPhases>(body, static_cast<int>(threadIdx.x), shared, mine);
}

/// The phases from kLast on are run by one group alone of those that share a counter: the last one that comes so far.
/// It sees what all of them have written, and finds the same numbers whichever it is. The counter is zero again behind
/// it.
template <class Body>
__global__ void __launch_bounds__(Body::kThreads) run_groups_and_last(Body body, unsigned* counters) {
  __shared__ typename Body::Shared shared;
  __shared__ bool last;
  typename Body::Thread mine;
  const int thread = static_cast<int>(threadIdx.x);
  run_phases<0, Body::kLast>(body, thread, shared, mine);
  __threadfence();  // each thread's writes are there for all before its group counts
  __syncthreads();
  const unsigned most = body.sharers() - 1;
  if (thread == 0) last = atomicInc(counters + body.counter_of(std::int64_t{blockIdx.x}), most) == most;
  __syncthreads();
  if (!last) return;
  __threadfence();  // and nothing is read that was there before
  run_phases<Body::kLast, Body::kPhases>(body, thread, shared, mine);
}

template <class Body>
constexpr void check_groups() {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel's arguments are copied to the device as bytes");
  static_assert(sizeof(Body) <= 4000, "more than a kernel's arguments may have in all");
  static_assert(
      std::is_trivially_default_constructible_v<typename Body::Shared> && sizeof(typename Body::Shared) <= 47 * 1024,
      "what a group shares has no constructors, and more than 48 KB would have to be asked for");
  static_assert(Body::kThreads % 32 == 0 && Body::kThreads <= 1024, "a group is whole warps of one block");
}

/// `groups` of them, fewer than 2^31.
template <class Body>
void for_each_group(std::int64_t groups, cudaStream_t stream, const Body& body) {
  check_groups<Body>();
  if (groups <= 0) return;
  run_groups<<<static_cast<unsigned>(groups), Body::kThreads, 0, stream>>>(body);
  check(cudaGetLastError(), "a GPU kernel could not be launched");
}

/// The body has besides: kLast; sharers(), how many groups share a counter; counter_of(group). The counters are in the
/// device's memory and zero, and belong to one stream.
template <class Body>
void for_each_group_and_last(std::int64_t groups, cudaStream_t stream, const Body& body, unsigned* counters) {
  check_groups<Body>();
  if (groups <= 0) return;
  run_groups_and_last<<<static_cast<unsigned>(groups), Body::kThreads, 0, stream>>>(body, counters);
  check(cudaGetLastError(), "a GPU kernel could not be launched");
}

}  // namespace dptrain::cuda
