#include "dptrain/train_command.h"

#include <csignal>
#include <string>

#include "core/error.h"
#include "data/open.h"
#include "report/reporter.h"
#include "train/fit.h"
#include "train/save_weights.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

StopRequest stop_request{0};

void request_stop(int signal) {
  stop_request.store(signal, std::memory_order_relaxed);
}

/// The first signal asks for an orderly end; a second one of the same kind has its usual effect. What the caller has us
/// ignore (`nohup`, `trap '' INT`) stays ignored.
void listen_to_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = request_stop;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
}

int stopped() {
  return 128 + stop_request.load();
}

}  // namespace

int run_training(const TrainCommand& command) {
  const JobSpec job = read_job(command.job.file, command.job.overrides);
  const DatasetInfo info = inspect_dataset(job.dataset);
  check_data_fit(job, info.shape, info.classes);
  place(job, info.train_samples);  // refuses what this machine does not have

  listen_to_signals();  // before there is a folder to take back, and after all that need not be
  RunFolder folder({.out = command.out, .fresh = command.fresh}, job.name);
  const std::filesystem::path path = folder.path();
  Reporter reporter({.quiet = command.quiet, .json = command.json}, std::move(folder));
  DatasetPair data;
  try {
    data = open_dataset(job.dataset, {.offline = command.offline,
                                      .progress = [&](const std::string& line) { reporter.message(line); },
                                      .stop = &stop_request});
    throw_if_stopped(&stop_request);
  } catch (const Stopped&) {
    return stopped();  // the reporter takes the empty run folder back
  }
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
  return stopped();
}

}  // namespace dptrain
