#include "report/evaluation_history.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace dptrain {

EvaluationHistory read_evaluations(const std::filesystem::path& metrics) {
  using Json = nlohmann::json;
  EvaluationHistory history;
  std::ifstream in(metrics);
  for (std::string line; std::getline(in, line);) {
    const bool start = line.starts_with(R"({"event":"start")");
    history.parts += start ? 1 : 0;
    if (!start && !line.starts_with(R"({"event":"evaluate")")) continue;
    try {
      const Json json = Json::parse(line);
      if (start) {
        const std::int64_t step = json.at("step");
        std::erase_if(history.evaluations, [&](const EvalReport& lost) { return lost.step > step; });
        continue;
      }
      const auto real = [&](const char* key) {
        return json.at(key).is_null() ? not_known : json.at(key).get<double>();
      };
      const auto real_if_there = [&](const char* key) { return json.contains(key) ? real(key) : not_known; };
      history.evaluations.push_back({.step = json.at("step"),
                                     .epoch = real("epoch"),
                                     .test_loss = real("test_loss"),
                                     .test_accuracy = real("test_accuracy"),
                                     .seconds = real("seconds"),
                                     .train_seconds = real("train_seconds"),
                                     .ema_test_loss = real_if_there("ema_test_loss"),
                                     .ema_test_accuracy = real_if_there("ema_test_accuracy")});
    } catch (const Json::exception&) {
    }
  }
  return history;
}

}  // namespace dptrain
