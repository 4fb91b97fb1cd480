// Purpose: small checkpoints for tests. Thread safety: none.
#pragma once

#include <fmt/format.h>

#include <numeric>
#include <string>
#include <vector>

#include "support/process.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain::test {

/// Two parameters, three rows by two and two, with one state buffer.
inline ParameterTable small_table() {
  Parameter weight{.name = "0.weight", .desc = {.name = "weight", .shape = Shape{3, 2}, .stored_floats = 6}};
  Parameter bias{.name = "0.bias", .desc = {.name = "bias", .shape = Shape{2}, .stored_floats = 2}};
  return ParameterTable({bias, weight});
}

inline const std::vector<std::string> small_states = {"momentum_buffer"};

/// Of `step`, all values of which tell it from those of other steps.
inline Snapshot small_snapshot(std::int64_t step, std::int64_t best_step = -1) {
  const ParameterTable table = small_table();
  std::vector<float> weights(static_cast<std::size_t>(table.floats())), state(weights.size());
  std::iota(weights.begin(), weights.end(), static_cast<float>(100 * step));
  std::iota(state.begin(), state.end(), static_cast<float>(-100 * step));
  RunState run;
  run.step = step;
  run.seed = 7;
  run.job = "a job\n";
  run.basis = {{"compiler", "one"}, {"threads", "1"}};
  run.train_seconds = 1.5;
  run.final_loss = 0.1;
  run.test_accuracy = 0.5;  // the test loss is not known
  run.evaluated_step = step;
  run.best_step = best_step;
  return take_snapshot(table, weights.data(), small_states, {state.data()}, run);
}

inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dptrain::test
