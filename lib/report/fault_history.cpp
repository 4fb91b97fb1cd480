#include "report/fault_history.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace dptrain {

namespace {

using Json = nlohmann::json;

FaultReport parse_fault(const Json& json) {
  FaultReport report{.kind = json.at("kind"), .action = json.at("action"), .step = json.at("step")};
  if (!json.at("replica").is_null()) report.replica = json.at("replica");
  if (!json.at("micro_batch").is_null()) report.micro_batch = json.at("micro_batch");
  if (!json.at("parameter").is_null()) report.parameter = json.at("parameter");
  report.message = json.at("message");
  report.unix_time = json.at("unix_time");
  return report;
}

}  // namespace

std::vector<FaultReport> read_fault_history(const std::filesystem::path& metrics) {
  std::vector<FaultReport> history;
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);) {
    const bool fault = line.starts_with(R"({"event":"fault")"), recovered = line.starts_with(R"({"event":"recovered")");
    if (!fault && !recovered) continue;  // most are of steps
    try {
      const Json json = Json::parse(line);
      if (fault) {
        history.push_back(parse_fault(json));
        continue;
      }
      // Faults are recovered from in their order.
      const auto next = std::find_if(history.begin(), history.end(),
                                     [](const FaultReport& report) { return std::isnan(report.recovery_seconds); });
      if (next != history.end()) next->recovery_seconds = json.at("recovery_seconds");
    } catch (const Json::exception&) {
    }
  }
  return history;
}

}  // namespace dptrain
