// A record as it is read: what no run can have done is refused with its line, and never replayed as something else.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "train/async/record/record.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

using Json = nlohmann::json;

[[noreturn]] void damaged(const std::filesystem::path& file, std::int64_t line, const std::string& reason) {
  fail(ExitStatus::failed, "{}:{}: {}", file.string(), line, reason);
}

/// Of a line that is known to the caller.
struct Damage {
  std::string reason;
};

/// Far above all that is counted in a run, and far below what arithmetic with it would overflow at.
constexpr std::int64_t kMost = 1'000'000'000'000;

std::int64_t integer(const Json& json, const char* name) {
  const bool sane = json.is_number_unsigned()  ? json.get<std::uint64_t>() <= kMost
                    : json.is_number_integer() ? json.get<std::int64_t>() >= -kMost
                                               : false;
  if (!sane) throw Damage{fmt::format("{}: {} is no number of a record", name, json.dump())};
  return json.get<std::int64_t>();
}

const Json& member(const Json& json, const char* name) {
  if (!json.is_object() || !json.contains(name)) throw Damage{fmt::format("{} is missing", name)};
  return json.at(name);
}

std::int64_t integer_at(const Json& json, const char* name) {
  return integer(member(json, name), name);
}

std::string text_at(const Json& json, const char* name) {
  const Json& text = member(json, name);
  if (!text.is_string()) throw Damage{fmt::format("{}: {} is no text", name, text.dump())};
  return text.get<std::string>();
}

double real_at(const Json& json, const char* name) {
  const Json& number = member(json, name);
  if (!number.is_number()) throw Damage{fmt::format("{}: {} is no number", name, number.dump())};
  return number.get<double>();
}

RecordedGradient gradient_of(const Json& json, std::int64_t shards) {
  RecordedGradient gradient{.index = integer_at(json, "gradient"),
                            .ticket = integer_at(json, "ticket"),
                            .lag = integer_at(json, "lag"),
                            .scale = static_cast<float>(real_at(json, "scale"))};
  const Json& read = member(json, "read");
  if (read.is_array()) {
    if (static_cast<std::int64_t>(read.size()) != shards)
      throw Damage{fmt::format("a gradient that has read {} shards of {}", read.size(), shards)};
    for (const Json& version : read) gradient.read.push_back(integer(version, "read"));
  } else {
    gradient.read.push_back(integer(read, "read"));
  }
  if (!member(json, "version").is_null()) gradient.version = integer_at(json, "version");
  return gradient;
}

RecordHeader header_of(const Json& json, const std::filesystem::path& file) {
  if (json.is_discarded() || !json.contains("record")) damaged(file, 1, "this is no record of a run");
  if (json.at("record") != kRecordFormat)
    damaged(file, 1, fmt::format("this version of dptrain reads records of format {}", kRecordFormat));
  RecordHeader header{.job = text_at(json, "job"),
                      .weights = text_at(json, "weights"),
                      .floats = integer_at(json, "floats"),
                      .shards = integer_at(json, "shards"),
                      .micro_batch = integer_at(json, "micro_batch"),
                      .step = integer_at(json, "step"),
                      .version = integer_at(json, "version"),
                      .pushed = integer_at(json, "pushed")};
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
  if (gradient.index < 0 || gradient.ticket < 0) return "gradient and ticket are not negative";
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
      } catch (const Damage& damage) {
        damaged(file_, number_, damage.reason);
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
      resume(integer_at(json, "resume"), integer_at(json, "version"));
    } else if (json.contains("fallback")) {
      record_.fallback_step = integer_at(json, "fallback");
    } else if (json.contains("rate")) {
      const std::int64_t version = integer_at(json, "version");
      if (!record_.rates.emplace(version, real_at(json, "rate")).second)
        throw Damage{fmt::format("version {} for the second time", version)};
    } else {
      throw Damage{"this is no line of a record"};
    }
  }

  void gradient(RecordedGradient gradient) {
    if (const std::string fault = fault_of(gradient, record_.header); !fault.empty()) throw Damage{fault};
    if (!indices_.insert(gradient.index).second)
      throw Damage{fmt::format("micro-batch {} for the second time", gradient.index)};
    if (!tickets_.insert(gradient.ticket).second)
      throw Damage{fmt::format("ticket {} for the second time", gradient.ticket)};
    record_.gradients.push_back(std::move(gradient));
  }

  void resume(std::int64_t step, std::int64_t version) {
    if (step < record_.header.step || version < record_.header.version)
      throw Damage{fmt::format("the run went on from step {}, and the record begins at {}", step, record_.header.step)};
    const std::int64_t index = first_of_(step);
    tickets_.clear();  // a part of a run counts its own
    indices_.erase(indices_.lower_bound(index), indices_.end());
    record_.forget_from(step, index, version);
  }

  const std::filesystem::path& file_;
  const std::function<std::int64_t(std::int64_t step)>& first_of_;
  Record record_;
  std::int64_t number_ = 0;         // of the line
  std::set<std::int64_t> indices_;  // of record_.gradients
  std::set<std::int64_t> tickets_;  // of this part of the run
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
  } catch (const Damage& damage) {
    damaged(file, 1, damage.reason);
  }
}

Record read_record(const std::filesystem::path& file, const std::function<std::int64_t(std::int64_t step)>& first_of) {
  return Reader(file, first_of).read();
}

}  // namespace dptrain
