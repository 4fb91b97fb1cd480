#include "dptrain/train_command.h"

#include <csignal>

#include "core/error.h"
#include "data/open.h"
#include "report/process.h"
#include "report/reporter.h"
#include "train/save_weights.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

StopRequest stop_request{0};

/// The first signal asks for an orderly end; a second one of the same kind has its usual effect.
void request_stop(int signal) {
  stop_request.store(signal, std::memory_order_relaxed);
  std::signal(signal, SIG_DFL);
}

}  // namespace

int run_training(const TrainCommand& command) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, request_stop);
  ignore_closed_pipes();

  const JobSpec job = read_job(command.job.file, command.job.overrides);
  const DatasetInfo info = inspect_dataset(job.dataset);
  check_data_fit(job, info.shape, info.classes);
  replica_count(job, info.train_samples);

  RunFolder folder({.out = command.out, .fresh = command.fresh}, job.name);
  const std::filesystem::path path = folder.path();
  Reporter reporter({.quiet = command.quiet, .json = command.json}, std::move(folder));
  const DatasetPair data = open_dataset(
      job.dataset, {.offline = command.offline, .progress = [&](const std::string& line) { reporter.message(line); }});
  const Summary summary =
      train(job, data, reporter,
            {.stop = &stop_request, .save = [&](const WeightsView& weights) { save_weights(path, weights); }});
  switch (summary.status) {
    case RunStatus::done:
      return static_cast<int>(ExitStatus::ok);
    case RunStatus::expect_not_met:
      return static_cast<int>(ExitStatus::expectation);
    case RunStatus::stopped:
    case RunStatus::failed:  // an error says that, not a summary
      break;
  }
  return 128 + stop_request.load();
}

}  // namespace dptrain
