#include "report/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <utility>

#include "core/durable_file.h"
#include "core/error.h"

namespace dptrain {

namespace fs = std::filesystem;

namespace {

// In the order of removal: job.yaml goes last, because it is what a run is recognised by.
constexpr std::array run_files = {"summary.json", "metrics.jsonl", "async.record", "job.yaml"};
constexpr const char* checkpoints = "checkpoints";

// The first line of job.yaml tells a run's resolved spec from a spec of the user's own that has the same name.
constexpr std::string_view written_by_a_run = "# Written by dptrain: the resolved job spec of this run.";

[[noreturn]] void refused_by_system(const char* what, const fs::path& path, const std::string& reason) {
  fail(ExitStatus::failed, "cannot {} {}: {}", what, path.string(), reason);
}

bool holds_a_run(const fs::path& folder) {
  std::ifstream job(folder / "job.yaml");
  std::string line;
  return std::getline(job, line) && line == written_by_a_run;
}

/// Creates runs/<name>/<UTC time>/; two runs of one second get two folders, because creating one succeeds once.
fs::path create_default_folder(const fs::path& runs, const std::string& name) {
  const fs::path parent = runs / name;
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) refused_by_system("create the folder", parent, error.message());
  const std::string time = fmt::format("{:%Y-%m-%dT%H-%M-%SZ}", fmt::gmtime(std::time(nullptr)));
  for (int number = 1;; ++number) {
    const fs::path folder = parent / (number == 1 ? time : fmt::format("{}-{}", time, number));
    if (fs::create_directory(folder, error)) return folder;
    if (error) refused_by_system("create the folder", folder, error.message());
  }
}

}  // namespace

RunFolder::RunFolder(const RunFolderOptions& options, const std::string& name) {
  if (options.out.empty()) {
    path_ = create_default_folder(options.runs, name);
    created_ = true;
  } else {
    path_ = options.out;
    std::error_code error;
    const fs::file_status status = fs::status(path_, error);
    if (fs::exists(status) && !fs::is_directory(status)) {
      fail(ExitStatus::usage, "--out {}: this is a file; a run needs a folder", path_.string());
    }
    // A trailing slash makes create_directories() report that nothing was created.
    const fs::path bare = path_.has_filename() ? path_ : path_.parent_path();
    created_ = fs::create_directories(bare, error);
    if (error) refused_by_system("create the folder", path_, error.message());
  }
  try {
    claim();
    refuse_what_is_there(options.fresh || options.resume);
    continues_ = options.resume && holds_a_run(path_);
  } catch (...) {
    if (folder_ >= 0) ::close(folder_);
    throw;
  }
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)),
      created_(std::exchange(other.created_, false)),
      begun_(other.begun_),
      continues_(other.continues_),
      job_(std::move(other.job_)),
      folder_(std::exchange(other.folder_, -1)),
      metrics_(std::exchange(other.metrics_, -1)) {}

RunFolder::~RunFolder() {
  if (metrics_ >= 0) ::close(metrics_);
  if (created_ && !begun_) ::rmdir(path_.c_str());  // refuses a folder that is not empty
  if (folder_ >= 0) ::close(folder_);
}

void RunFolder::claim() {
  folder_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_ < 0) refused_by_system("open the folder", path_, std::strerror(errno));
  // The lock ends with the process, however it ends. A file system without locks gives no such protection.
  if (::flock(folder_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    fail(ExitStatus::usage, "{}: a run is going on in this folder; choose another --out", path_.string());
  }
}

void RunFolder::refuse_what_is_there(bool fresh) const {
  const bool run = holds_a_run(path_);
  if (run && !fresh) {
    fail(ExitStatus::usage,
         "{}: this folder holds a run; choose another --out, or give --resume to go on with it, or --fresh to replace "
         "it",
         path_.string());
  }
  for (const char* name : run_files) {
    const fs::path file = path_ / name;
    std::error_code error;
    const fs::file_status status = fs::symlink_status(file, error);
    if (!fs::exists(status) || (run && fs::is_regular_file(status))) continue;
    fail(ExitStatus::usage, "{}: no run wrote this file, and it will not be overwritten; choose another --out",
         file.string());
  }
  std::error_code error;
  if (!run && fs::exists(fs::symlink_status(path_ / checkpoints, error))) {
    fail(ExitStatus::usage, "{}: no run wrote this folder, and it will not be replaced; choose another --out",
         (path_ / checkpoints).string());
  }
}

void RunFolder::remove_earlier_run() {
  std::error_code error;
  fs::remove_all(path_ / checkpoints, error);
  if (error) refused_by_system("remove", path_ / checkpoints, error.message());
  for (const char* name : run_files) {
    const fs::path file = path_ / name;
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) refused_by_system("remove", file, std::strerror(errno));
  }
}

void RunFolder::begin(std::string_view job_yaml) {
  if (continues_) {
    std::error_code error;
    fs::remove(path_ / run_files.front(), error);  // the summary of a run that goes on is not true any more
  } else {
    remove_earlier_run();
  }
  begun_ = true;
  job_ = fmt::format("{}\n{}", written_by_a_run, job_yaml);
  write_file_atomically(path_ / "job.yaml", job_);
  open_metrics();
}

std::string RunFolder::restore() {
  struct stat claimed = {}, there = {};
  if (::stat(path_.c_str(), &there) != 0) return "";  // who writes there says so
  if (::fstat(folder_, &claimed) == 0 && claimed.st_dev == there.st_dev && claimed.st_ino == there.st_ino) return "";
  const int found = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (found < 0) refused_by_system("open the folder", path_, std::strerror(errno));
  const auto is_there = [this](const char* name) { return ::access((path_ / name).c_str(), F_OK) == 0; };
  if ((::flock(found, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) ||
      std::any_of(run_files.begin(), run_files.end(), is_there)) {
    ::close(found);
    fail(ExitStatus::failed, "{}: the folder was removed while the run went on, and another run lies there by now",
         path_.string());
  }
  ::close(folder_);
  folder_ = found;
  write_file_atomically(path_ / "job.yaml", job_);
  ::close(metrics_);
  open_metrics();
  return fmt::format(
      "{}: the folder was removed while the run went on; what metrics.jsonl and earlier checkpoints held is lost",
      path_.string());
}

void RunFolder::open_metrics() {
  const fs::path file = path_ / "metrics.jsonl";
  metrics_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (metrics_ < 0) refused_by_system("write", file, std::strerror(errno));
  // The last line of a run that was killed, or whose disk was full, may be half a line.
  const off_t size = ::lseek(metrics_, 0, SEEK_END);
  off_t whole = size;
  for (char last = 0; whole > 0 && ::pread(metrics_, &last, 1, whole - 1) == 1 && last != '\n';) --whole;
  if (whole < size && ::ftruncate(metrics_, whole) != 0) refused_by_system("write", file, std::strerror(errno));
}

void RunFolder::append_metrics(const std::string& json) {
  DPTRAIN_CHECK(metrics_ >= 0, "metrics before the run began");
  write_all(metrics_, json + "\n", path_ / "metrics.jsonl");
}

void RunFolder::write_summary(std::string_view json) {
  write_file_atomically(path_ / "summary.json", fmt::format("{}\n", json));
}

}  // namespace dptrain
