#include "train/checkpoint/checkpoint_folders.h"

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "core/durable_file.h"
#include "core/error.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kFolders = "checkpoints", kPrefix = "step-", kOld = ".old", kGone = ".gone";

/// The names in a run's folder of checkpoints; none, and no error, where there is no such folder.
std::vector<std::string> names_of(const fs::path& run_folder, std::error_code& error) {
  std::vector<std::string> names;
  for (fs::directory_iterator entry(run_folder / kFolders, error), end; !error && entry != end; entry.increment(error))
    names.push_back(entry->path().filename().string());
  if (error == std::errc::no_such_file_or_directory) error.clear();
  return names;
}

/// The N of "step-N".
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  std::int64_t step = 0;
  const auto [rest, problem] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (problem != std::errc() || rest != name.data() + name.size()) return std::nullopt;
  return step;
}

std::vector<std::int64_t> steps_among(const std::vector<std::string>& names) {
  std::vector<std::int64_t> steps;
  for (const std::string& name : names) {
    if (const auto step = step_of(name)) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

fs::path hidden(const fs::path& folder, std::string_view suffix) {
  return folder.parent_path() / fmt::format(".{}{}", folder.filename().string(), suffix);
}

/// Out of the way by one rename: half of a folder must never look like a checkpoint.
bool set_aside(const fs::path& folder, const fs::path& aside) {
  std::error_code error;
  fs::remove_all(aside, error);
  fs::rename(folder, aside, error);
  return !error;
}

/// What was set aside for another, which never took its place because the process was killed.
void give_back_names(const fs::path& run_folder) {
  std::error_code error;
  for (const std::string& name : names_of(run_folder, error)) {
    if (!name.starts_with('.') || !name.ends_with(kOld)) continue;
    const auto step = step_of(std::string_view(name).substr(1, name.size() - 1 - kOld.size()));
    if (!step) continue;
    const fs::path folder = checkpoint_folder(run_folder, *step);
    if (!fs::exists(fs::symlink_status(folder, error))) publish(folder.parent_path() / name, folder);
  }
}

}  // namespace

void replace_checkpoint(const fs::path& temporary, const fs::path& final) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(final, error))) return publish(temporary, final);
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final.c_str(), RENAME_EXCHANGE) == 0) {
    sync_to_disk(final.parent_path());
    fs::remove_all(temporary, error);
    return;
  }
  // Not every file system can exchange two folders.
  const fs::path old = hidden(final, kOld);
  const bool aside = set_aside(final, old);  // where that fails it stays, and publishing says why
  try {
    publish(temporary, final);
  } catch (...) {
    if (aside && !fs::exists(fs::symlink_status(final, error))) fs::rename(old, final, error);
    throw;
  }
  fs::remove_all(old, error);
}

std::vector<std::int64_t> checkpoint_steps(const fs::path& run_folder) {
  std::error_code error;
  const std::vector<std::string> names = names_of(run_folder, error);
  if (error) fail(ExitStatus::failed, "cannot list {}: {}", (run_folder / kFolders).string(), error.message());
  return steps_among(names);
}

fs::path checkpoint_folder(const fs::path& run_folder, std::int64_t step) {
  return run_folder / kFolders / fmt::format("{}{}", kPrefix, step);
}

void prune_checkpoints(const fs::path& run_folder, std::int64_t keep, std::int64_t newest,
                       const std::vector<std::int64_t>& besides) {
  std::int64_t kept = 0;
  std::error_code error;  // what cannot be removed costs space, no more
  for (const std::int64_t step : steps_among(names_of(run_folder, error))) {
    // Later ones are of an attempt that could not be gone on from.
    const bool wanted = step == 0 || std::find(besides.begin(), besides.end(), step) != besides.end();
    if (step <= newest && (kept++ < keep || wanted)) continue;
    const fs::path folder = checkpoint_folder(run_folder, step);
    set_aside(folder, hidden(folder, kGone));
  }
  for (const std::string& name : names_of(run_folder, error)) {
    if (name.starts_with('.')) fs::remove_all(run_folder / kFolders / name, error);
  }
}

std::optional<Checkpoint> newest_checkpoint(const fs::path& run_folder,
                                            const std::function<void(const std::string&)>& warn) {
  give_back_names(run_folder);
  std::vector<std::string> unusable;
  for (const std::int64_t step : checkpoint_steps(run_folder)) {
    const fs::path folder = checkpoint_folder(run_folder, step);
    try {
      Checkpoint checkpoint = read_checkpoint(folder);
      if (checkpoint.snapshot.state.step != step)
        fail(ExitStatus::failed, "{}: is of another step", (folder / "state.json").string());
      for (const std::string& reason : unusable)
        warn(fmt::format("a checkpoint that cannot be used is passed over: {}", reason));
      return checkpoint;
    } catch (const Error& error) {
      unusable.emplace_back(error.what());
    }
  }
  if (unusable.empty()) return std::nullopt;
  fail(ExitStatus::failed,
       "none of the checkpoints in {} can be used; --fresh starts the run again, and removes them\n  {}",
       (run_folder / kFolders).string(), fmt::join(unusable, "\n  "));
}

}  // namespace dptrain
