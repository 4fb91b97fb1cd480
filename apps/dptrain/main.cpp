// The command line: `dptrain JOB` trains, `dptrain check JOB` prints the plan, `dptrain data ...` looks after datasets.

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "core/error.h"
#include "core/in_words.h"
#include "core/process.h"
#include "dptrain/check_command.h"
#include "dptrain/compare_command.h"
#include "dptrain/data_command.h"
#include "dptrain/plan_command.h"
#include "dptrain/replay_command.h"
#include "dptrain/signals.h"
#include "dptrain/together.h"
#include "dptrain/train_command.h"
#include "dptrain/verify_command.h"
#include "report/output.h"
#include "spec/binder.h"

namespace dptrain {
namespace {

constexpr int kUsage = static_cast<int>(ExitStatus::usage);

/// Runs a command whose result is the lines that it prints, each at once: where they cannot be written the command has
/// failed. A reader that has gone is no error.
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

/// A mistyped command would be taken for a job spec.
void refuse_mistyped_command(const CLI::App& app, const std::string& word) {
  std::error_code ignored;
  if (word.starts_with('-') || std::filesystem::exists(word, ignored)) return;
  Names commands;
  const std::vector<const CLI::App*> all = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* command : all) commands.push_back(command->get_name());
  const std::string_view near = nearest(word, commands);
  if (!near.empty() && near != word)
    fail(ExitStatus::usage, "error: no command and no file is called '{}'; did you mean '{}'?", word, near);
}

/// CLI11's own complaints end with the status of a usage error; --help and --version with 0.
int parse_failure(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return print([&](std::ostream& out) { return app.exit(error, out, std::cerr); });
  std::cerr << "dptrain: error: " << error.what() << "\nRun `dptrain --help` for the options.\n";
  return kUsage;
}

/// An option with an empty value is a shell's variable that is not set, and never means that the option was left out.
void refuse_empty_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    option->check([](const std::string& value) { return value.empty() ? std::string("the value is empty") : ""; });
  for (CLI::App* command : app.get_subcommands(nullptr)) refuse_empty_values(*command);
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
  JobOptions checked;
  PlanCommand planned;
  VerifyCommand verified;
  CompareCommand compared;
  ReplayCommand replayed;
  DataCommand looked_after;
  add_training(app, training);
  const CLI::App *check = add_check(app, checked), *plan = add_plan(app, planned), *verify = add_verify(app, verified),
                 *compare = add_compare(app, compared), *replay = add_replay(app, replayed),
                 *data = add_data(app, looked_after);
  refuse_empty_values(app);
  if (argc > 1) refuse_mistyped_command(app, argv[1]);
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
  if (data->parsed()) return print([&](std::ostream& out) { return look_after_data(looked_after, out); });
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
  dptrain::fail_instead_of_signals();
  try {
    return dptrain::command_line(argc, argv);
  } catch (const dptrain::Error& error) {
    std::fprintf(stderr, "dptrain: %s\n", error.what());
    return static_cast<int>(error.status());
  } catch (const dptrain::Stopped&) {
    return dptrain::stopped_status();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dptrain: error: %s\n", dptrain::in_words(error).c_str());
  }
  return static_cast<int>(dptrain::ExitStatus::failed);
}
