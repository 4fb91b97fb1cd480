#include "dpbench/sum_profile.h"

#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "comm/launch.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/statistics.h"
#include "spec/reader.h"
#include "train/cpu/cpu_reducer.h"
#include "train/float_mode.h"

namespace dptrain {

namespace {

/// One replica and one micro-batch for each process: the reducer's ordinary step, on gradients that are there already.
JobSpec job_of(int processes) {
  return read_job_text(fmt::format("dataset: {{name: digits}}\n"
                                   "model: {{input: [1, 28, 28], layers: [flatten, {{linear: 10}}]}}\n"
                                   "train: {{steps: 1, global_batch_size: {0}, micro_batch_size: 1,\n"
                                   "        optimizer: {{name: sgd, lr: 1}}}}\n"
                                   "devices: {{type: cpu, count: {0}}}\n",
                                   processes),
                       "dpbench sum");
}

/// Seconds of `work`, which all processes begin together, by this process's clock: the median.
template <class Work>
double time_together(Communicator& processes, std::int64_t repeats, Work&& work) {
  std::vector<double> seconds;
  for (std::int64_t k = 0; k < repeats; ++k) {
    processes.host_barrier();
    const double began = steady_seconds();
    work();
    processes.host_barrier();
    seconds.push_back(steady_seconds() - began);
  }
  return median(std::move(seconds));
}

void measure(Communicator& processes, std::int64_t floats, std::int64_t repeats) {
  const int rank = processes.rank(), size = processes.size();
  omp_set_num_threads(1);
  flush_denormals();

  const JobSpec job = job_of(size);
  const Placement placement = place(job, size, processes);
  const RunSchedule schedule(job, size, placement.replicas);
  HostGradients gradients(placement, schedule, processes);
  LocalGroup group(1, &processes);
  CpuReducer reducer(group, floats, 0, std::nullopt, {}, &gradients);
  const std::vector<float> zeros(static_cast<std::size_t>(floats));
  reducer.load(zeros.data());
  const Buffer mine = gradients.buffer(rank, 0, floats);
  std::fill_n(mine.floats(), floats, static_cast<float>(rank + 1));

  const auto sum = [&](float lr) {
    reducer.begin(rank, UpdateRule(SgdRule{.lr = lr}));
    reducer.gather(rank);
    reducer.update(rank, schedule.full());
  };
  sum(1);
  const float expected = -static_cast<float>(size + 1) / 2;  // minus the mean of 1 ... size
  for (std::int64_t i = 0; i < floats; ++i) {
    if (reducer.parameters(rank)[i] != expected)
      fail(ExitStatus::failed, "element {} of the sum is {}, not {}", i, reducer.parameters(rank)[i], expected);
  }

  std::vector<float> copy(zeros.size());
  const double copying =
      time_together(processes, repeats, [&] { std::memcpy(copy.data(), zeros.data(), copy.size() * sizeof(float)); });
  const double adding = time_together(processes, repeats, [&] { sum(0.5F); });
  if (rank == 0) {
    const double megabytes = static_cast<double>(floats) * sizeof(float) / 1e6;
    fmt::print("{:.1f} MB summed between {} processes, parameters updated: {:.2f} ms, {:.2f} GB/s\n", megabytes, size,
               adding * 1e3, megabytes / 1e3 / adding);
    fmt::print("{:.1f} MB copied by each of them at once: {:.2f} ms, {:.2f} GB/s\nratio {:.2f}\n", megabytes,
               copying * 1e3, megabytes / 1e3 / copying, copying / adding);
  }
}

}  // namespace

int profile_sum(int argc, char** argv) {
  std::int64_t floats = 6'250'000, repeats = 51;
  CLI::App app("Gradients summed between processes, and the parameters updated. Start it with mpirun.", "dpbench sum");
  app.add_option("--floats", floats, "of a gradient")->check(CLI::Range(1, 1000000000));
  app.add_option("--repeats", repeats, "the median counts")->check(CLI::Range(1, 1000000));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitStatus::usage);
  }
  if (!find_launch().by_launcher)
    fail(ExitStatus::usage, "dpbench sum is for several processes: mpirun -np 2 dpbench sum");
  const std::unique_ptr<Communicator> processes = join_processes();
  check_count(find_launch(), processes->size());
  try {
    measure(*processes, floats, repeats);
  } catch (const GroupAborted&) {
    return static_cast<int>(processes->news()->status);  // and it has been said
  }
  processes->close();
  return 0;
}

}  // namespace dptrain
