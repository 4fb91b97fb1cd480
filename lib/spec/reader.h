// Purpose: reads a job spec and command-line overrides into a JobSpec, strictly; lib/spec is the only user of yaml-cpp.
// Thread safety: pure functions.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "spec/job_spec.h"

namespace dptrain {

/// One override from the command line: `--set key.path=value`, or a short flag (--devices, --gpus, --mode, --seed).
struct Override {
  std::string flag;   ///< how the user wrote it, for messages: "--set", "--devices", ...
  std::string path;   ///< "train.optimizer.lr"; list entries by index: "model.layers.0.conv2d.out_channels"
  std::string value;  ///< parsed as YAML
};

/// Reads and validates. Throws Error(ExitStatus::usage) whose message holds *all* errors of file and overrides, each as
/// "file:line:column: error: ..." followed by the line, a caret and a hint.
JobSpec read_job(const std::filesystem::path& file, const std::vector<Override>& overrides = {});

/// The same from text; `file` is used in messages and for the default name.
JobSpec read_job_text(const std::string& text, const std::filesystem::path& file,
                      const std::vector<Override>& overrides = {});

/// The resolved spec, every default filled in, as YAML that read_job accepts and reads to an equal JobSpec.
std::string to_yaml(const JobSpec& job);

/// The part of it that decides the weights after a number of steps, and what they are tested on, in the same form: what
/// a run that is continued must have in common with the one that was stopped. How long it goes on is not part of it (a
/// schedule may rest on that). What happens at a value that is not finite is the last part, and is left out where that
/// ends the run.
std::string weights_yaml(const JobSpec& job);

/// The steps at which drills make a gradient that is not finite, in order; one that comes twice is drilled a second
/// time when it is done again. Replicas that are drilled at the same time count once.
std::vector<std::int64_t> nan_drill_steps(const JobSpec& job);

/// Formats a complaint about something that stands at `at`, with the line of the file and a caret, for checks that need
/// more than the spec (shapes, classes): "file:line:column: error: message\n  line\n  ^\n".
std::string complaint(const SourceMark& at, const std::string& message);

}  // namespace dptrain
