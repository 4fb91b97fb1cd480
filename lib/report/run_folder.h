// Purpose: the folder of one run: job.yaml (the resolved spec), metrics.jsonl (one object a line, as it happens) and
//   summary.json (at the end).
// Thread safety: one user at a time. Across processes: a folder belongs to one run at a time; a second one is refused.
// Invariants: job.yaml and summary.json are there whole or not at all; every line of metrics.jsonl is handed to the
//   system when it is written, and what a run left of one that it could not end is cut off by the next; a file that no
//   run wrote is never overwritten or removed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace dptrain {

struct RunFolderOptions {
  std::filesystem::path out{};  ///< --out: the run folder itself; empty: runs/<name>/<UTC time>/
  bool fresh = false;           ///< --fresh: replace the run that is in `out`
  bool resume = false;          ///< --resume: go on with the run that is in `out`, where there is one
  std::filesystem::path runs = "runs";
};

class RunFolder {
 public:
  /// Creates the folder, or finds that the one given may be used, and claims it; writes and removes nothing in it, so
  /// that a run which fails before it starts leaves an earlier run alone. `name` is the job's.
  /// Errors: usage where the folder holds a run and `fresh` is not set, holds files of these names (or checkpoints/)
  /// that no run wrote, is in use, or is no folder; failed where the system refuses.
  RunFolder(const RunFolderOptions& options, const std::string& name);
  /// Removes the folder again where it was created here and `begin` was not reached.
  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Whether there is a run to go on with.
  bool continues() const { return continues_; }

  /// Removes what an earlier run left, its checkpoints too, unless this one goes on with it; writes job.yaml and opens
  /// metrics.jsonl. Errors: failed, with file and reason.
  void begin(std::string_view job_yaml);
  /// Appends one line to metrics.jsonl; `json` has no newline. Errors: failed, with file and reason.
  void append_metrics(const std::string& json);
  /// Where the folder was removed while the run went on, and checkpoints have made another: claims that and writes
  /// job.yaml, so that it holds a run again. Says what is lost; empty where nothing is. Errors: failed, with file and
  /// reason, also where the folder is another run's by now.
  std::string restore();
  /// Errors: failed, with file and reason.
  void write_summary(std::string_view json);

 private:
  void claim();
  void refuse_what_is_there(bool fresh) const;
  void remove_earlier_run();
  void open_metrics();

  std::filesystem::path path_;
  bool created_ = false;  ///< by this object, so that it may be taken back
  bool begun_ = false, continues_ = false;
  std::string job_;  ///< what job.yaml holds
  int folder_ = -1;  ///< descriptor that holds the claim
  int metrics_ = -1;
};

}  // namespace dptrain
