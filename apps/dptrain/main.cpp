// The command line: `dptrain JOB` trains, `dptrain check JOB` prints the plan, `dptrain data ...` looks after datasets.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>

#include "core/error.h"
#include "core/process.h"
#include "dptrain/check_command.h"
#include "dptrain/compare_command.h"
#include "dptrain/data_command.h"
#include "dptrain/plan_command.h"
#include "dptrain/replay_command.h"
#include "dptrain/together.h"
#include "dptrain/train_command.h"
#include "dptrain/verify_command.h"
#include "report/output.h"

namespace dptrain {
namespace {

constexpr int kUsage = static_cast<int>(ExitStatus::usage);

/// Runs a command whose result is the lines that it prints, each at once: where they cannot be written the command has failed. A
/// reader that has gone is no error.
template <class Command>
int print_lines(Command&& command) {
  Output output(stdout);
  const int status = command([&](const std::string& line) { output.write(fmt::format("{}\n", line)); });
  if (output.error() != 0 && output.error() != EPIPE) {
    fail(ExitStatus::failed, "cannot write to standard output: {}", std::strerror(output.error()));
  }
  return status;
}

/// The same of a command that prints all of it at its end.
template <class Command>
int print(Command&& command) {
  return print_lines([&](const auto& say) {
    std::ostringstream text;
    const int status = command(text);
    std::string lines = text.str();
    if (lines.ends_with('\n')) lines.pop_back();
    if (!lines.empty()) say(lines);
    return status;
  });
}

/// CLI11's own complaints end with the status of a usage error; --help and --version with 0.
int parse_failure(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return print([&](std::ostream& out) { return app.exit(error, out, std::cerr); });
  std::cerr << "dptrain: error: " << error.what() << "\nRun `dptrain --help` for the options.\n";
  return kUsage;
}

int command_line(int argc, char** argv) {
  CLI::App app("Trains neural networks data-parallel from a YAML job spec.", "dptrain");
  app.set_version_flag("--version", "dptrain " + version());
  app.require_subcommand(0, 1);
  app.footer(
      "Exit status: 0 done, 1 failed, 2 usage or job spec, 3 dataset missing or corrupt, 4 `expect` or --target not "
      "met,\n"
      "75 a replica was past the step deadline or a process was lost, 128+n ended by signal n.");

  TrainCommand training;
  add_job_options(app, training.job);
  app.add_option("--out", training.out, "the run folder (default: runs/<name>/<UTC time>/)");
  app.add_flag("--fresh", training.fresh, "replace the run that is in the run folder");
  app.add_flag("--resume", training.resume,
               "go on with the run that is in the run folder; start one where there is none");
  app.add_option("--init-from", training.init_from, "the first weights, a safetensors file, instead of the seed's");
  app.add_option("--target", training.target,
                 "end at the first evaluation with this test accuracy, such as 0.985; status 4 where there is none");
  app.add_flag("--offline", training.offline, "download nothing");
  app.add_flag("--quiet", training.quiet, "no log");
  app.add_flag("--json", training.json, "no log; the summary as one JSON object on standard output");

  JobOptions checked;
  CLI::App* check = app.add_subcommand("check", "validate a job and print its plan; trains nothing");
  add_job_options(*check, checked);
  check->get_option("JOB")->required();

  PlanCommand planned;
  CLI::App* plan = app.add_subcommand("plan", "forecast step time, efficiency and memory on other numbers of devices");
  add_spec_options(*plan, planned.job);
  plan->get_option("JOB")->required();
  plan->add_option("--devices", planned.devices, "numbers of devices, such as 1,2,4,...,1024")->capture_default_str();
  plan->add_option("--link", planned.link, "what joins machines: bits a second of each, and latency")
      ->capture_default_str();
  plan->add_option("--seconds", planned.seconds, "how long to profile, and to run at each number of replicas, about")
      ->check(CLI::Range(0.01, 3600.0))
      ->check([](const std::string& text) {  // NaN is in every range
        return text.find_first_not_of("+0123456789.eE-") == std::string::npos ? "" : "a number of seconds";
      })
      ->capture_default_str();
  plan->add_flag("--measure", planned.measure, "hold the forecast against short runs, where this machine can run them");
  plan->add_flag("--offline", planned.offline, "download nothing");
  plan->add_flag("--json", planned.json, "one JSON object in place of the table");

  VerifyCommand verified;
  CLI::App* verify = app.add_subcommand("verify", "train a stretch of a run again and compare the weights, to the bit");
  verify->add_option("RUN", verified.run, "the run folder")->required();
  verify->add_option("--devices", verified.devices, "how many replicas, however many the run had")
      ->check(CLI::Range(1, 4096));
  CLI::Option* all =
      verify->add_flag("--all", verified.all, "every stretch between two checkpoints, not only the last");
  verify->add_option("--steps", verified.steps, "N[,M...]: the checkpoints to reach again, from the ones before them")
      ->excludes(all);
  verify->add_flag("--offline", verified.offline, "download nothing");

  CompareCommand compared;
  CLI::App* compare = app.add_subcommand("compare", "train in several modes and compare their times to an accuracy");
  add_job_options(*compare, compared.job);
  compare->get_option("JOB")->required();
  compare->add_option("--modes", compared.modes, "those to compare, such as sync,local_sgd (default: all)")
      ->delimiter(',')
      ->allow_extra_args(false);  // JOB may follow
  compare->add_option("--target", compared.target, "the test accuracy to reach, such as 0.985")->required();
  compare->add_option("--seeds", compared.seeds, "how many runs a mode: the job's seed and those that follow it")
      ->check(CLI::Range(1, 1000));
  compare->add_option("--out", compared.out, "the folder of the runs (default: runs/<name>/compare-<UTC time>/)");
  compare->add_flag("--fresh", compared.fresh, "replace the runs that are there");
  compare->add_flag("--resume", compared.resume,
                    "go on with the comparison that is there: runs that are complete are not repeated, others go on");
  compare->add_flag("--offline", compared.offline, "download nothing");
  compare->add_flag("--quiet", compared.quiet, "nothing but the table");
  compare->add_flag("--json", compared.json, "one JSON object in place of the table");
  compare->footer(
      "Batch and rate of one mode alone: `async: {train: {optimizer: {lr: 0.1}}}` in the job, or\n"
      "`--set async.train.optimizer.lr=0.1`; likewise sync.train and local_sgd.train.\n"
      "Exit status: 0 every run reached the target, 4 one did not (it missed, or failed), 2 usage or job spec,\n"
      "3 dataset missing or corrupt, 128+n ended by signal n. comparison.json holds what is known at any end.");

  ReplayCommand replayed;
  CLI::App* replay =
      app.add_subcommand("replay", "re-execute a recorded asynchronous run and compare the weights, to the bit");
  replay->add_option("RUN", replayed.run, "the run folder")->required();
  replay->add_option("--devices", replayed.devices, "how many replicas, however many the run had")
      ->check(CLI::Range(1, 4096));
  replay->add_option("--init-from", replayed.init_from,
                     "the first weights, as the run had them, where they are not in its folder");
  replay->add_flag("--offline", replayed.offline, "download nothing");

  CLI::App* data = app.add_subcommand("data", "list, inspect or download datasets");
  data->require_subcommand(1);
  CLI::App* list = data->add_subcommand("list", "the datasets with a descriptor, and whether they are on this machine");
  std::string info_of, fetched;
  bool offline = false;
  CLI::App* info = data->add_subcommand("info", "counts, shape and hashes of a dataset");
  info->add_option("DATASET", info_of, "a name, or a folder (with a '/')")->required();
  CLI::App* fetch = data->add_subcommand("fetch", "check a dataset where it is, or download it into the cache");
  fetch->add_option("NAME", fetched, "see `dptrain data list`")->required();
  fetch->add_flag("--offline", offline, "download nothing");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parse_failure(app, error);
  }
  if (check->parsed()) return print([&](std::ostream& out) { return check_job(checked, out); });
  for (const CLI::App* command : {plan, verify, compare, replay})
    if (command->parsed()) refuse_several_processes(command->get_name());
  if (plan->parsed()) return print([&](std::ostream& out) { return plan_job(planned, out); });
  if (verify->parsed()) return print_lines([&](const auto& say) { return verify_run(verified, say); });
  if (compare->parsed()) return print([&](std::ostream& out) { return compare_modes(compared, out); });
  if (replay->parsed()) return print_lines([&](const auto& say) { return replay_run(replayed, say); });
  if (list->parsed()) return print([&](std::ostream& out) { return data_list(out); });
  if (info->parsed()) return print([&](std::ostream& out) { return data_info(info_of, out); });
  if (fetch->parsed()) {
    const DataOptions options = {.offline = offline,
                                 .progress = [](const std::string& line) { std::cerr << line << '\n'; }};
    return print([&](std::ostream& out) { return data_fetch(fetched, options, out); });
  }
  if (training.job.file.empty()) {
    std::cerr
        << "dptrain: error: no job spec given: `dptrain configs/mnist.yaml`. `dptrain --help` lists the options.\n";
    return kUsage;
  }
  return run_training(training);
}

}  // namespace
}  // namespace dptrain

int main(int argc, char** argv) {
  dptrain::open_closed_standard_streams();
  dptrain::ignore_closed_pipes();
  try {
    return dptrain::command_line(argc, argv);
  } catch (const dptrain::Error& error) {
    std::fprintf(stderr, "dptrain: %s\n", error.what());
    return static_cast<int>(error.status());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "dptrain: error: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dptrain: error: %s\n", error.what());
  }
  return static_cast<int>(dptrain::ExitStatus::failed);
}
