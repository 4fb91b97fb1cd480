#include "train/async/record/record.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/durable_file.h"
#include "core/error.h"
#include "core/hash.h"

namespace dptrain {

using Json = nlohmann::json;

std::filesystem::path record_file(const std::filesystem::path& run_folder) {
  return run_folder / "async.record";
}

std::string hash_of_text(std::string_view text) {
  Hash128 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

RecordWriter::RecordWriter(const std::filesystem::path& file, const RecordHeader& header) : file_(file) {
  open("w");
  line(Json{{"record", kRecordFormat},
            {"job", header.job},
            {"weights", header.weights},
            {"floats", header.floats},
            {"shards", header.shards},
            {"micro_batch", header.micro_batch},
            {"step", header.step},
            {"version", header.version},
            {"pushed", header.pushed}}
           .dump());
  sync();  // whoever goes on with the run needs it
  sync_to_disk(file.has_parent_path() ? file.parent_path() : ".");
}

RecordWriter::RecordWriter(const std::filesystem::path& file, std::int64_t step, std::int64_t version) : file_(file) {
  open("a");
  // The last line of a run that was killed may be half a line.
  line(fmt::format("\n{{\"resume\": {}, \"version\": {}}}", step, version));
}

RecordWriter::~RecordWriter() {
  if (out_ != nullptr) std::fclose(out_);
}

void RecordWriter::open(const char* mode) {
  out_ = std::fopen(file_.c_str(), mode);
  if (out_ == nullptr) fail(ExitStatus::failed, "cannot write {}: {}", file_.string(), std::strerror(errno));
}

void RecordWriter::line(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (std::fwrite(text.data(), 1, text.size(), out_) != text.size() || std::fputc('\n', out_) == EOF)
    fail(ExitStatus::failed, "cannot write {}: {}", file_.string(), std::strerror(errno));
}

void RecordWriter::gradient(const RecordedGradient& gradient) {
  const auto& read = gradient.read;
  const bool same = std::equal(read.begin() + 1, read.end(), read.begin());
  line(fmt::format(
      R"({{"gradient": {}, "ticket": {}, "read": {}, "version": {}, "lag": {}, "scale": {}}})", gradient.index,
      gradient.ticket, same ? fmt::format("{}", read.front()) : fmt::format("[{}]", fmt::join(read, ", ")),
      gradient.version ? fmt::format("{}", *gradient.version) : std::string("null"), gradient.lag, gradient.scale));
}

void RecordWriter::version(std::int64_t version, double rate) {
  line(fmt::format(R"({{"version": {}, "rate": {}}})", version, rate));
}

void RecordWriter::fallback(std::int64_t step, std::int64_t version) {
  line(fmt::format(R"({{"fallback": {}, "version": {}}})", step, version));
}

void RecordWriter::sync() {
  const std::lock_guard lock(mutex_);
  if (std::fflush(out_) != 0) fail(ExitStatus::failed, "cannot write {}: {}", file_.string(), std::strerror(errno));
  sync_to_disk(file_);
}

}  // namespace dptrain
