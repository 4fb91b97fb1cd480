// Purpose: the file async.record of a run, from which `dptrain replay` re-executes it. One JSON object a line:
//     {"record": 2, "job": "...", "weights": "...", "floats": N, "shards": N, "micro_batch": N, "step": 0, "version":
//     0, "pushed": 0}
//         first: hashes of the job's decisive part and of the first weights, and where the record begins: behind step 0
//         that is a checkpoint, for a run that was not recorded before it, and the run keeps that
//     {"gradient": 17, "ticket": 12, "read": [11, 11, 12], "version": 13, "lag": 1, "scale": 1}
//         micro-batch 17 was pushed as number 12, having read these versions of the shards (one number where they are
//         the same), and is part of version 13; null where it was dropped
//     {"version": 13, "rate": 0.05}
//         version 13 was made with this learning rate
//     {"fallback": 40, "version": 320}
//         from step 40 on, at version 320, the run is synchronous; for the reader: the rates say what it comes to
//     {"resume": 20, "version": 160}
//         the run went on from a checkpoint of step 20: what stands before of later steps is void
// Thread safety: a writer's gradient() from any thread; the rest by one. Errors: failed, with file and reason.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dptrain {

inline constexpr int kRecordFormat = 2;

struct RecordHeader {
  std::string job, weights;  ///< hashes; the weights' is ParameterTable::hash()
  std::int64_t floats = 0, shards = 1, micro_batch = 1, step = 0, version = 0;
  std::int64_t pushed = 0;  ///< gradients, dropped ones too, before the record begins
  bool operator==(const RecordHeader&) const = default;
};

struct RecordedGradient {
  std::int64_t index = 0, ticket = 0;
  std::vector<std::int64_t> read{};       ///< by shard; one number alone where all are the same
  std::optional<std::int64_t> version{};  ///< that it is part of; empty: dropped
  std::int64_t lag = 0;
  float scale = 1;
  bool operator==(const RecordedGradient&) const = default;
};

struct Record {
  RecordHeader header;
  std::vector<RecordedGradient> gradients{};  ///< in the order of the file
  std::map<std::int64_t, double> rates{};     ///< of each version
  std::int64_t fallback_step = -1;

  /// What was recorded behind `step`, whose first micro-batch is `index`, and of versions after `version`.
  void forget_from(std::int64_t step, std::int64_t index, std::int64_t version);
};

std::filesystem::path record_file(const std::filesystem::path& run_folder);

class RecordWriter {
 public:
  /// A new file.
  RecordWriter(const std::filesystem::path& file, const RecordHeader& header);
  /// Goes on with the file, from a checkpoint.
  RecordWriter(const std::filesystem::path& file, std::int64_t step, std::int64_t version);
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  RecordWriter& operator=(const RecordWriter&) = delete;

  void gradient(const RecordedGradient& gradient);
  void version(std::int64_t version, double rate);
  void fallback(std::int64_t step, std::int64_t version);
  /// What was recorded is on the disk.
  void sync();

 private:
  void open(const char* mode);
  void line(const std::string& text);

  const std::filesystem::path file_;
  std::mutex mutex_;
  std::FILE* out_ = nullptr;
};

/// `first_of(step)` is the index of a step's first micro-batch. A line that was cut off is left out where the run ended
/// or went on from a checkpoint behind it. Errors: failed, with file and line, where the record says what no run can
/// have done.
Record read_record(const std::filesystem::path& file, const std::function<std::int64_t(std::int64_t step)>& first_of);

/// Its first line alone.
RecordHeader read_record_header(const std::filesystem::path& file);

/// For RecordHeader::job.
std::string hash_of_text(std::string_view text);

}  // namespace dptrain
