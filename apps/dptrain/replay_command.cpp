#include "dptrain/replay_command.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "core/error.h"
#include "device/accelerators.h"
#include "dptrain/job_data.h"
#include "dptrain/same_run.h"
#include "dptrain/text_file.h"
#include "report/json.h"
#include "report/lines.h"
#include "spec/names.h"
#include "spec/reader.h"
#include "train/async/record/record.h"
#include "train/async/record/replay.h"
#include "train/checkpoint/checkpoint.h"
#include "train/fit/fit.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

/// What the run came to. Errors: usage where it did not.
Summary summary_of(const std::filesystem::path& run) {
  const std::filesystem::path file = run / "summary.json";
  if (!std::filesystem::exists(file))
    fail(ExitStatus::usage, "{}: the run has no summary.json: it has not ended", run.string());
  Summary summary = parse_summary(read_text(file), file.string());
  if (summary.weights_hash.empty())
    fail(ExitStatus::usage, "{}: the run failed, and there are no weights to reach", run.string());
  return summary;
}

/// Where it is replayed: on the kind of device that the run was on, however many there are. Errors: usage where there
/// is none.
DevicesSpec devices_of_replay(const JobSpec& job, const Summary& summary, const std::filesystem::path& run) {
  DevicesSpec devices = job.devices;
  devices.type = DeviceType::cpu;
  if (summary.device_type != "cuda") return devices;
  if (const Accelerators machine = accelerators(); machine.usable.empty())
    fail(ExitStatus::usage,
         "{}: the run was on GPUs, and none can be used here: {}; on CPU cores its gradients have other bits",
         run.string(), machine.missing);
  devices.type = DeviceType::cuda;
  devices.share = true;
  return devices;
}

/// What the bits of the newest checkpoint rest on and is another here; empty where nothing is, or there is none that
/// can be read. What is wrong with the record replay() says.
std::string difference_to(const std::filesystem::path& run, JobSpec job, const DatasetPair& data) {
  for (const std::int64_t step : checkpoint_steps(run)) {
    try {
      // Not what the replicas here would make of it.
      job.train.micro_batch_size = read_record_header(record_file(run)).micro_batch;
      return basis_difference(read_checkpoint(checkpoint_folder(run, step)).snapshot.state.basis, basis_of(job, data));
    } catch (const Error& error) {
      if (error.status() != ExitStatus::failed) throw;
    }
  }
  return "";
}

}  // namespace

int replay_run(const ReplayCommand& command, const std::function<void(const std::string&)>& say) {
  const std::filesystem::path run = command.run;
  if (!std::filesystem::exists(run / "job.yaml"))
    fail(ExitStatus::usage, "{}: holds no run: there is no job.yaml", run.string());
  JobSpec job = read_job(run / "job.yaml");
  if (command.devices) job.devices.count = *command.devices;  // read with as many as its drills are for
  if (job.mode != Mode::async)
    fail(ExitStatus::usage, "{}: a run in mode {}: replay is for async, see `dptrain verify`", run.string(),
         names::mode.name_of(job.mode));
  if (job.async.updates == StoreUpdates::hogwild)
    fail(ExitStatus::usage,
         "{}: a hogwild run cannot be replayed: its updates have no order, and which of two was lost is known "
         "to nobody; async.updates: locked can be",
         run.string());
  const std::filesystem::path record = record_file(run);
  if (!std::filesystem::exists(record))
    fail(ExitStatus::usage, "{}: the run was not recorded: async.record: true does that", run.string());
  const Summary summary = summary_of(run);
  job.devices = devices_of_replay(job, summary, run);
  const DatasetPair data = open_data(job, command.offline);
  if (const std::string difference = difference_to(run, job, data); !difference.empty()) {
    say(fmt::format("warning         the weights may not get the bits they had: {}", difference));
  }
  const ReplayResult result = replay(job, data, record, command.init_from);
  const int replicas = replica_count(job, data.train->size());
  const std::int64_t versions = summary.async ? summary.async->versions : result.versions;
  const bool same_weights = result.weights_hash == summary.weights_hash, same_versions = result.versions == versions;
  say(fmt::format("replayed        {} versions of {} gradients ({} dropped) on {} replica{}{}",
                  grouped(result.versions - result.first_version), grouped(result.gradients), grouped(result.dropped),
                  replicas, replicas == 1 ? "" : "s",
                  result.first_step == 0
                      ? std::string()
                      : fmt::format(", from step {} on, where the record begins", result.first_step)));
  if (!same_versions)
    say(fmt::format("versions        up to {}, NOT those of the run, up to {}", grouped(result.versions),
                    grouped(versions)));
  say(fmt::format(
      "weights         {}: {}", result.weights_hash,
      same_weights ? "the bits of the run" : fmt::format("NOT those of the run, {}", summary.weights_hash)));
  return static_cast<int>(same_weights && same_versions ? ExitStatus::ok : ExitStatus::failed);
}

const CLI::App* add_replay(CLI::App& app, ReplayCommand& command) {
  CLI::App* added =
      app.add_subcommand("replay", "re-execute a recorded asynchronous run and compare the weights, to the bit");
  added->add_option("RUN", command.run, "the run folder")->required();
  added->add_option("--devices", command.devices, "how many replicas, however many the run had")
      ->check(CLI::Range(1, 4096));
  added->add_option("--init-from", command.init_from,
                    "the first weights, as the run had them, where they are not in its folder");
  added->add_flag("--offline", command.offline, "download nothing");
  return added;
}

}  // namespace dptrain
