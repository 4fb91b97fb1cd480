// Purpose: the built binary under mpirun, as several ranks on this machine, for the end-to-end tests.
// Thread safety: none.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/end_to_end.h"

#define SKIP_WITHOUT_RANKS()                                                       \
  if (const std::string reason = dptrain::test::why_no_ranks(); !reason.empty()) { \
    MESSAGE("skipped: " << reason);                                                \
    return;                                                                        \
  }

namespace dptrain::test {

/// Why no ranks can be started here; empty where they can.
inline std::string why_no_ranks() {
  const Process::Options nowhere{.folder = fs::temp_directory_path()};
  const std::vector<std::string> probe = {"mpirun", "--allow-run-as-root", "--version"};
  return run(probe, nowhere).status == 0 ? "" : "there is no mpirun (openmpi-bin)";
}

/// A Workplace whose commands may be started as ranks.
class Ranks : public Workplace {
 public:
  /// `environment`: for the ranks too.
  std::vector<std::string> command_of(int ranks, const std::vector<std::string>& arguments) const {
    // As root, on fewer cores than ranks, whose turns are then short.
    std::vector<std::string> all = {
        "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
        "-np",    std::to_string(ranks)};
    for (const std::string& word : command(arguments)) all.push_back(word);
    return all;
  }
  Finished on(int ranks, const std::vector<std::string>& arguments,
              std::map<std::string, std::string> environment = {}) const {
    return run(command_of(ranks, arguments), options(std::move(environment)));
  }
  /// Two ranks, each with an environment of its own beside what is `common`.
  Finished on_two(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& first,
                  const std::map<std::string, std::string>& second,
                  std::map<std::string, std::string> common = {}) const {
    const std::vector<std::string> program = command(arguments);
    std::vector<std::string> all = command_of(1, {});
    all.resize(all.size() - command({}).size());
    const auto add = [&](const std::map<std::string, std::string>& own) {
      for (const auto& [name, value] : own) all.insert(all.end(), {"-x", name + "=" + value});
      all.insert(all.end(), program.begin(), program.end());
    };
    add(first);
    all.insert(all.end(), {":", "-np", "1"});
    add(second);
    return run(all, options(std::move(common)));
  }
  /// The weights of a run that has to end well.
  std::string weights(const Finished& finished, const fs::path& out) const {
    INFO(finished.out << finished.err);
    REQUIRE(finished.status == 0);
    return summary(out)["weights_hash"];
  }
};

/// The processes that a process has started, in order.
inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> all;
  std::error_code error;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(parent) + "/task", error)) {
    std::istringstream list(read_text(task.path() / "children"));
    for (pid_t child = 0; list >> child;) all.push_back(child);
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// Whether it runs or is stopped; one that has ended and waits to be reaped is gone.
inline bool is_there(pid_t process) {
  const std::string stat = read_text(fs::path("/proc") / std::to_string(process) / "stat");
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

/// Ranks that are at work on a run in the folder `run`; whoever is left at the end is ended.
struct RanksAtWork {
  RanksAtWork(const Ranks& here, int ranks, const std::vector<std::string>& arguments,
              std::map<std::string, std::string> environment = {})
      : launcher(here.command_of(ranks, arguments), here.options(std::move(environment))) {
    REQUIRE(eventually([&] { return has(read_text(here.folder / "run/metrics.jsonl"), "\"train\""); }));
    processes = children_of(launcher.id());
    REQUIRE(processes.size() == static_cast<std::size_t>(ranks));
  }
  RanksAtWork(const RanksAtWork&) = delete;
  RanksAtWork& operator=(const RanksAtWork&) = delete;
  ~RanksAtWork() {
    for (const pid_t process : processes)
      if (is_there(process)) ::kill(process, SIGKILL);
  }
  bool all_gone() const {
    return eventually([&] { return std::none_of(processes.begin(), processes.end(), is_there); });
  }
  Process launcher;
  std::vector<pid_t> processes;  // by rank
};

/// A small job on four devices of this type: the last step of an epoch has fewer micro-batches, and one of another
/// size.
inline std::string small_mlp(const std::string& type) {
  return R"(name: mlp
dataset: {name: digits, train_samples: 301, test_samples: 150}
model:
  input: [1, 28, 28]
  layers: [flatten, {linear: 40}, batch_norm, relu, {linear: 10}]
train:
  {steps: 23, global_batch_size: 64, micro_batch_size: 7, clip_grad_norm: 1.0, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
evaluate: {every: 7 steps}
devices: {count: 4, type: )" +
         type + "}\n";
}

/// How a job ends of which one rank was sent SIGKILL or SIGSTOP while it trained.
inline void check_lost(const Finished& ended, std::size_t culprit, int signal) {
  INFO(ended.err);
  // mpirun ends with the status of the first that it notices: the one that was killed, or one that gave the run up.
  CHECK((ended.status == 75 || (signal == SIGKILL && ended.status == 137)));
  const std::string rank = "rank " + std::to_string(culprit);
  const bool at_a_step = has(ended.err, "at step") || has(ended.err, "before its first step");
  const bool named_by_others = has(ended.err, rank + " on ") && at_a_step &&
                               has(ended.err, signal == SIGKILL ? "has gone" : "has been silent");
  // On a busy machine mpirun may notice a kill first, say so, and end the others before they have said it.
  CHECK((named_by_others || (signal == SIGKILL && has(ended.err, "process " + rank + " with"))));
}

}  // namespace dptrain::test

