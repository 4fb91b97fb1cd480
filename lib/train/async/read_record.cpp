// A record as it is read: what no run can have done is refused with its line, and never replayed as something else.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "train/async/record.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

using Json = nlohmann::json;

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
  if (json.at("record") != kRecordFormat)
    damaged(file, 1, fmt::format("this version of dptrain reads records of format {}", kRecordFormat));
  RecordHeader header{.job = json.at("job"),
                      .weights = json.at("weights"),
                      .floats = json.at("floats"),
                      .shards = json.at("shards"),
                      .micro_batch = json.at("micro_batch"),
                      .step = json.at("step"),
                      .version = json.at("version"),
                      .pushed = json.at("pushed")};
  if (header.floats < 1 || header.shards < 1 || header.micro_batch < 1)
    damaged(file, 1, "floats, shards and micro_batch are at least 1");
  if (header.step < 0 || header.version < 0 || header.pushed < 0)
    damaged(file, 1, "step, version and pushed are not negative");
  const std::int64_t most = header.floats / GradientReducer::kChunk + 1;
  if (header.shards > most)
    damaged(file, 1, fmt::format("{} floats have {} shards at most, not {}", header.floats, most, header.shards));
  return header;
}

/// What is wrong with a gradient of its own; empty where nothing is.
std::string fault_of(const RecordedGradient& gradient, const RecordHeader& header) {
  if (static_cast<std::int64_t>(gradient.read.size()) != header.shards)
    return "a gradient that has read another number of shards";
  const auto [oldest, newest] = std::minmax_element(gradient.read.begin(), gradient.read.end());
  if (*oldest < header.version)
    return fmt::format("micro-batch {} read version {}, and the record begins at {}", gradient.index, *oldest,
                       header.version);
  if (gradient.version && *newest >= *gradient.version)
    return fmt::format("micro-batch {} read version {} and is part of {}, which is not later", gradient.index, *newest,
                       *gradient.version);
  // As the Ledger counts: versions made since the oldest that it read, without its own.
  if (gradient.version ? gradient.lag != *gradient.version - 1 - *oldest : gradient.lag < 0)
    return fmt::format("micro-batch {} cannot have had lag {}", gradient.index, gradient.lag);
  return "";
}

class Reader {
 public:
  Reader(const std::filesystem::path& file, const std::function<std::int64_t(std::int64_t step)>& first_of)
      : file_(file), first_of_(first_of) {}

  Record read() {
    std::ifstream in(file_, std::ios::binary);
    if (!in) fail(ExitStatus::failed, "cannot read {}: {}", file_.string(), std::strerror(errno));
    std::int64_t cut_off = 0;
    for (std::string text; std::getline(in, text);) {
      ++number_;
      if (text.empty()) continue;
      const Json json = Json::parse(text, nullptr, false);
      if (json.is_discarded() && number_ > 1) {
        cut_off = number_;  // a run was killed while it wrote this; the checkpoint that it goes on from is older
        continue;
      }
      try {
        if (cut_off != 0 && !json.contains("resume")) damaged(file_, cut_off, "this is no line of a record");
        cut_off = 0;
        line(json);
      } catch (const Json::exception& error) {
        damaged(file_, number_, error.what());
      }
    }
    if (number_ == 0) damaged(file_, 1, "the file is empty");
    return std::move(record_);
  }

 private:
  void line(const Json& json) {
    if (number_ == 1) {
      record_.header = header_of(json, file_);
    } else if (json.contains("gradient")) {
      gradient(gradient_of(json, record_.header.shards));
    } else if (json.contains("resume")) {
      resume(json.at("resume"), json.at("version"));
    } else if (json.contains("fallback")) {
      record_.fallback_step = json.at("fallback");
    } else if (json.contains("rate")) {
      if (!record_.rates.emplace(json.at("version"), json.at("rate")).second)
        damaged(file_, number_, fmt::format("version {} for the second time", json.at("version").dump()));
    }
  }

  void gradient(RecordedGradient gradient) {
    if (const std::string fault = fault_of(gradient, record_.header); !fault.empty()) damaged(file_, number_, fault);
    if (!indices_.insert(gradient.index).second)
      damaged(file_, number_, fmt::format("micro-batch {} for the second time", gradient.index));
    record_.gradients.push_back(std::move(gradient));
  }

  void resume(std::int64_t step, std::int64_t version) {
    const std::int64_t index = first_of_(step);
    indices_.erase(indices_.lower_bound(index), indices_.end());
    record_.forget_from(step, index, version);
  }

  const std::filesystem::path& file_;
  const std::function<std::int64_t(std::int64_t step)>& first_of_;
  Record record_;
  std::int64_t number_ = 0;         // of the line
  std::set<std::int64_t> indices_;  // of record_.gradients
};

}  // namespace

void Record::forget_from(std::int64_t step, std::int64_t index, std::int64_t version) {
  std::erase_if(gradients, [&](const RecordedGradient& gradient) { return gradient.index >= index; });
  rates.erase(rates.upper_bound(version), rates.end());
  if (fallback_step > step) fallback_step = -1;
}

RecordHeader read_record_header(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text;
  if (!std::getline(in, text)) damaged(file, 1, "the file is empty or cannot be read");
  try {
    return header_of(Json::parse(text, nullptr, false), file);
  } catch (const Json::exception& error) {
    damaged(file, 1, error.what());
  }
}

Record read_record(const std::filesystem::path& file, const std::function<std::int64_t(std::int64_t step)>& first_of) {
  return Reader(file, first_of).read();
}

}  // namespace dptrain
