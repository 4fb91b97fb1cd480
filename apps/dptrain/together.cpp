#include "dptrain/together.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <vector>

#include "comm/launch.h"
#include "core/hash.h"
#include "core/in_words.h"
#include "core/process.h"
#include "data/fingerprint.h"
#include "spec/reader.h"
#include "train/backend.h"

namespace dptrain {

namespace {

/// Of each process: what has to be everywhere the same, in 32 digits. Returns the first rank that has something else;
/// -1: none.
int first_other(Communicator& processes, const std::string& fact) {
  std::vector<char> mine(32), all(32 * static_cast<std::size_t>(processes.size()));
  fact.copy(mine.data(), mine.size());
  processes.all_gather(mine.data(), mine.size(), all.data());
  for (int r = 1; r < processes.size(); ++r)
    if (std::memcmp(all.data(), all.data() + 32 * static_cast<std::size_t>(r), 32) != 0) return r;
  return -1;
}

/// Every process's text, of which at most 4096 bytes.
std::vector<std::string> from_all(Communicator& processes, const std::string& text) {
  constexpr std::size_t kMost = 4096;
  std::vector<char> mine(kMost + 1), all((kMost + 1) * static_cast<std::size_t>(processes.size()));
  text.copy(mine.data(), kMost);
  processes.all_gather(mine.data(), mine.size(), all.data());
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < static_cast<std::size_t>(processes.size()); ++r)
    texts.emplace_back(all.data() + r * (kMost + 1));
  return texts;
}

void refuse_other(Communicator& processes, const std::string& fact, const std::string& what, ExitStatus status,
                  const std::string& hint) {
  const int other = first_other(processes, fact);
  if (other < 0) return;
  throw AgreedError(
      status, fmt::format("{} has {} than {}: {}", processes.members()[static_cast<std::size_t>(other)].name(), what,
                          processes.members().front().name(), hint));
}

std::string hash_of(const std::string& text) {
  Hash128 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

/// Said here, while the others still wait for the first process: when one has gone the launcher ends all.
int last_word(bool first, ExitStatus status, const std::string& text) {
  if (first) std::fprintf(stderr, "dptrain: %s\n", text.c_str());
  return static_cast<int>(status);
}

}  // namespace

void agree_on(Communicator& processes, const PartOutcome& mine) {
  struct Verdict {
    std::int32_t status, stopped, signal;
    char text[2036];
  };
  Verdict own{.status = mine.error ? static_cast<int>(mine.error->status()) : 0,
              .stopped = mine.stopped ? 1 : 0,
              .signal = stopped_status() - 128,
              .text = {}};
  if (mine.error) std::string(mine.error->what()).copy(own.text, sizeof own.text - 1);
  std::vector<Verdict> all(static_cast<std::size_t>(processes.size()));
  processes.all_gather(&own, sizeof own, all.data());
  const auto failed = std::find_if(all.begin(), all.end(), [](const Verdict& v) { return v.status != 0; });
  if (failed != all.end()) {
    const auto rank = static_cast<std::size_t>(failed - all.begin());
    const auto status = static_cast<ExitStatus>(failed->status);
    if (rank == 0 && processes.rank() == 0) throw AgreedError(status, mine.error->what());
    throw AgreedError(status,
                      rank == 0 ? failed->text : fmt::format("{}: {}", processes.members()[rank].name(), failed->text));
  }
  const auto stopped = std::find_if(all.begin(), all.end(), [](const Verdict& v) { return v.stopped != 0; });
  if (stopped == all.end()) return;
  stop_as(stopped->signal);
  throw Stopped();
}

std::string from_first(Communicator& processes, const std::string& text) {
  return processes.alone() ? text : from_all(processes, text).front();
}

void check_same_job(Communicator& processes, const JobSpec& job) {
  if (processes.alone()) return;
  refuse_other(processes, hash_of(version() + program_hash()), "another build of dptrain", ExitStatus::usage,
               "give all hosts the same program");
  refuse_other(processes, hash_of(to_yaml(job)), "another job spec", ExitStatus::usage,
               "give all hosts the same file and options");
}

void check_same_devices(Communicator& processes, const JobSpec& job, const Placement& placement) {
  if (processes.alone()) return;
  const auto name = [&](int r) { return processes.members()[static_cast<std::size_t>(r)].name(); };
  const auto fact_of = [](const AcceleratorInfo& gpu) {
    return fmt::format("a {} (compute capability {}.{})", gpu.name, gpu.compute_major, gpu.compute_minor);
  };
  const std::string first = placement.gpus.empty() ? "" : fact_of(placement.gpus.front());
  for (int replica = 1; job.reproducible && !placement.gpus.empty() && replica < placement.replicas; ++replica) {
    const std::string here = fact_of(placement.gpus[static_cast<std::size_t>(replica)]);
    if (here == first) continue;
    throw AgreedError(
        ExitStatus::usage,
        fmt::format("{} has {}, and {} {}: with reproducible: true all GPUs have to be of one kind; leave "
                    "out those of the other, or --set reproducible=false",
                    name(placement.process_of(replica)), here, name(0), first));
  }
  for (const auto& [library, version] : agree(processes, [&] { return device_basis(placement.type); })) {
    if (!job.reproducible && library != "NCCL") continue;  // which in different versions does not talk to itself
    const std::vector<std::string> versions = from_all(processes, version);
    const auto other = std::find_if(versions.begin(), versions.end(), [&](const auto& v) { return v != versions[0]; });
    if (other == versions.end()) continue;
    throw AgreedError(ExitStatus::usage,
                      fmt::format("{} has {} {}, and {} {}: give all hosts the same{}",
                                  name(static_cast<int>(other - versions.begin())), library, *other, name(0),
                                  versions[0], library == "NCCL" ? "" : ", or --set reproducible=false"));
  }
}

void check_same_data(Communicator& processes, const DatasetPair& data) {
  if (processes.alone()) return;
  Hash128 hash;
  add_samples(hash, *data.train);
  add_samples(hash, *data.test);
  refuse_other(processes, hash.hex(), "other samples of the dataset", ExitStatus::data,
               "give all hosts the same files");
}

int run_together(const std::function<int(Communicator&)>& body) {
  const Launch launch = find_launch();
  check_tasks(launch);
  if (!launch.by_launcher || launch.processes == 1) return body(*make_alone());
  const std::unique_ptr<Communicator> processes = join_processes();
  const bool first = processes->rank() == 0;
  struct Last {  // whatever this process ends by
    Communicator& processes;
    bool well = false;
    ~Last() {
      if (!well) processes.let_first_end();
    }
  } last{*processes};
  try {
    check_count(launch, processes->size());
    const int status = static_cast<int>(from_first(*processes, body(*processes)));
    processes->close();
    last.well = true;
    return status;
  } catch (const AgreedError& error) {
    processes->close();
    return last_word(first, error.status(), error.what());
  } catch (const GroupAborted&) {
    if (const News* news = processes->news()) return static_cast<int>(news->status);
    return static_cast<int>(ExitStatus::failed);
  } catch (const Error& error) {
    if (const News* news = processes->news()) return static_cast<int>(news->status);
    processes->fail(error.status(), error.what());
    return last_word(first, error.status(), error.what());
  } catch (const std::exception& error) {
    processes->fail(ExitStatus::failed, in_words(error));
    return last_word(first, ExitStatus::failed, fmt::format("error: {}", in_words(error)));
  }
}

void refuse_several_processes(const std::string& command) {
  const Launch launch = find_launch();
  if (launch.by_launcher && launch.processes != 1)
    fail(ExitStatus::usage, "dptrain {} is for one process: start it without the launcher", command);
}

}  // namespace dptrain
