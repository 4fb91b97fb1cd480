#include "train/async/record.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/hash.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;

[[noreturn]] void damaged(const std::filesystem::path& file, std::int64_t line, const std::string& reason) {
  fail(ExitStatus::failed, "{}:{}: {}", file.string(), line, reason);
}

RecordedGradient gradient_of(const Json& json, std::int64_t shards) {
  RecordedGradient gradient{.index = json.at("gradient"), .ticket = json.at("ticket"), .lag = json.at("lag")};
  const Json& read = json.at("read");
  if (read.is_array())
    read.get_to(gradient.read);
  else
    gradient.read.assign(static_cast<std::size_t>(shards), read.get<std::int64_t>());
  if (!json.at("version").is_null()) gradient.version = json.at("version").get<std::int64_t>();
  gradient.scale = json.at("scale").get<float>();
  return gradient;
}

RecordHeader header_of(const Json& json, const std::filesystem::path& file) {
  if (json.is_discarded() || !json.contains("record")) damaged(file, 1, "this is no record of a run");
  if (json.at("record") != kFormat) damaged(file, 1, "this version of dptrain reads records of format 1");
  RecordHeader header{.job = json.at("job"),
                      .weights = json.at("weights"),
                      .floats = json.at("floats"),
                      .shards = json.at("shards"),
                      .micro_batch = json.at("micro_batch"),
                      .step = json.at("step"),
                      .version = json.at("version")};
  if (header.floats < 1 || header.shards < 1 || header.micro_batch < 1)
    damaged(file, 1, "floats, shards and micro_batch are at least 1");
  if (header.step < 0 || header.version < 0) damaged(file, 1, "step and version are not negative");
  const std::int64_t most = header.floats / GradientReducer::kChunk + 1;
  if (header.shards > most)
    damaged(file, 1, fmt::format("{} floats have {} shards at most, not {}", header.floats, most, header.shards));
  return header;
}

void forget_from(Record& record, std::int64_t step, std::int64_t index, std::int64_t version) {
  std::erase_if(record.gradients, [&](const RecordedGradient& gradient) { return gradient.index >= index; });
  record.rates.erase(record.rates.upper_bound(version), record.rates.end());
  if (record.fallback_step > step) record.fallback_step = -1;
}

}  // namespace

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
  line(Json{{"record", kFormat},
            {"job", header.job},
            {"weights", header.weights},
            {"floats", header.floats},
            {"shards", header.shards},
            {"micro_batch", header.micro_batch},
            {"step", header.step},
            {"version", header.version}}
           .dump());
  flush();  // whoever goes on with the run needs it
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

void RecordWriter::flush() {
  const std::lock_guard lock(mutex_);
  if (std::fflush(out_) != 0) fail(ExitStatus::failed, "cannot write {}: {}", file_.string(), std::strerror(errno));
}

RecordHeader read_record_header(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text;
  if (!std::getline(in, text))
    fail(ExitStatus::failed, "{} is empty or cannot be read: remove it, and a new record begins where the run goes on",
         file.string());
  try {
    return header_of(Json::parse(text, nullptr, false), file);
  } catch (const Json::exception& error) {
    damaged(file, 1, error.what());
  }
}

Record read_record(const std::filesystem::path& file, const std::function<std::int64_t(std::int64_t step)>& first_of) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail(ExitStatus::failed, "cannot read {}: {}", file.string(), std::strerror(errno));
  Record record;
  std::int64_t number = 0, cut_off = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    if (text.empty()) continue;
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded() && number > 1) {
      cut_off = number;  // a run was killed while it wrote this; the checkpoint that it goes on from is older
      continue;
    }
    try {
      if (cut_off != 0 && !json.contains("resume")) damaged(file, cut_off, "this is no line of a record");
      cut_off = 0;
      if (number == 1) {
        record.header = header_of(json, file);
      } else if (json.contains("gradient")) {
        record.gradients.push_back(gradient_of(json, record.header.shards));
        if (static_cast<std::int64_t>(record.gradients.back().read.size()) != record.header.shards)
          damaged(file, number, "a gradient that has read another number of shards");
      } else if (json.contains("resume")) {
        forget_from(record, json.at("resume"), first_of(json.at("resume")), json.at("version"));
      } else if (json.contains("fallback")) {
        record.fallback_step = json.at("fallback");
      } else if (json.contains("rate")) {
        record.rates[json.at("version")] = json.at("rate");
      }
    } catch (const Json::exception& error) {
      damaged(file, number, error.what());
    }
  }
  if (number == 0) damaged(file, 1, "the file is empty");
  return record;
}

}  // namespace dptrain
