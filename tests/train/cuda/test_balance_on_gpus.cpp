// Micro-batches that move between GPUs, on the fake of CUDA, whose clocks say the same every time: a drill makes one GPU slow, then
// another; the weights have the bits of a run in which nothing moves.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/open.h"
#include "train/cuda/fake_gpus.h"
#include "train/cuda/small_jobs.h"
#include "train/cuda/sum_order.h"
#include "train/resumed_runs.h"

namespace dptrain {

using namespace test;

namespace {

constexpr std::int64_t kSamples = 16 * 9 + 11;  // nine full steps an epoch, and a short one
constexpr const char* kOne = "{type: cuda, count: 1}";

struct Machine {
  int gpus;
  const char* devices;
};
const Machine kMachines[] = {{1, "{type: cuda, count: 2, share: true}"},
                             {1, "{type: cuda, count: 3, share: true}"},
                             {2, "{type: cuda, count: 2}"},
                             {3, "{type: cuda, count: 3}"}};

/// Replica 1 is slow, and from the second window on replica 0 even more so.
const char* const kSlow =
    "drills: [{at_step: 0, replica: 1, do: slow, factor: 4}, {at_step: 20, replica: 0, do: slow, factor: 30}]\n";
const std::string kBalanced = std::string("balance: auto\n") + kSlow;

struct Outcome {
  Summary summary;
  std::vector<std::string> moves;  // what the log says of them
};

/// 45 steps: two windows of full ones, and some behind each.
Outcome run_long(JobSpec job, const Machine& machine, std::uint64_t seed = 1) {
  const Gpus gpus(machine.gpus);
  fake_cuda::set_seed(seed);
  job.train.epochs = 4.5;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(std::tmpfile(), &std::fclose),
      messages(std::tmpfile(), &std::fclose);
  Reporter reporter({.output = output.get(), .messages = messages.get()}, std::nullopt);
  Outcome outcome{.summary = train(job, memory_pair(kSamples, 20, kShape, 3), reporter), .moves = {}};
  std::rewind(messages.get());
  for (char line[1000]; std::fgets(line, sizeof line, messages.get()) != nullptr;)
    if (std::strncmp(line, "from step ", 10) == 0) outcome.moves.emplace_back(line);
  return outcome;
}

/// The same bits of weights and averages, and the same losses.
std::string bits(const Outcome& o) {
  return fmt::format("{} {} {}", o.summary.weights_hash, o.summary.ema_test_loss, o.summary.final_loss);
}

}  // namespace

TEST_CASE("micro-batches move away from GPUs that are slow, shared or their own, and no bit changes") {
  for (const Case& c : {kCases[1], kNormsOverTheStep}) {
    CAPTURE(c.name);
    const std::string wanted = bits(run_long(job_of(c, kOne), {1, kOne}));
    std::uint64_t seed = 1;
    for (const Machine& machine : kMachines) {
      CAPTURE(machine.devices);
      const std::int64_t timed = fake_cuda::counters().timed_events;
      const Outcome still = run_long(job_of(c, machine.devices, kSlow), machine);
      CHECK(bits(still) == wanted);
      CHECK(still.moves.empty());
      CHECK(fake_cuda::counters().timed_events == timed);
      const Outcome moved = run_long(job_of(c, machine.devices, kBalanced), machine, ++seed);
      CHECK(bits(moved) == wanted);
      for (const auto& m : moved.moves) MESSAGE(m);
      REQUIRE(moved.moves.size() == 2);
    }
  }
}

}  // namespace dptrain
