// Purpose: `dptrain replay RUN`: re-executes a recorded asynchronous run and compares the weights. Thread safety: one
//   thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace dptrain {

struct ReplayCommand {
  std::string run;  ///< the run folder
  std::optional<std::int64_t> devices;
  std::string init_from;  ///< as the run had it, where its folder does not have the weights
  bool offline = false;
};

/// Its options, into `command`, which must outlive `app`. Returns what is parsed where it is asked for.
const CLI::App* add_replay(CLI::App& app, ReplayCommand& command);

/// `say` gets each line as soon as it is known. What the run's bits rest on and is another here is said first. The exit
/// status: ok where weights and versions come to those of the run's summary, failed where they do not. Errors: usage
/// where there is no run or nothing that could be replayed; failed where the record cannot be used.
int replay_run(const ReplayCommand& command, const std::function<void(const std::string&)>& say);

}  // namespace dptrain
