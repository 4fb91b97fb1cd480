#include "dptrain/same_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "spec/reader.h"

namespace dptrain {

namespace {

/// Two texts that are not the same: "'lr: 0.1' there, 'lr: 0.2' here".
std::string first_difference(const std::string& there, const std::string& here) {
  std::istringstream a(there), b(here);
  for (std::string left, right;;) {
    const bool more_left = static_cast<bool>(std::getline(a, left)),
               more_right = static_cast<bool>(std::getline(b, right));
    if (!more_left) left.clear();
    if (!more_right) right.clear();
    if (left != right || (!more_left && !more_right)) return fmt::format("'{}' there, '{}' here", left, right);
  }
}

const std::string* value_of(const Basis& basis, const std::string& name) {
  const auto found = std::find_if(basis.begin(), basis.end(), [&](const auto& fact) { return fact.first == name; });
  return found == basis.end() ? nullptr : &found->second;
}

}  // namespace

std::string job_difference(const std::string& there, const JobSpec& job) {
  JobSpec stopping = job;
  stopping.faults.on_nan = OnNan::stop;
  const bool drilled = !nan_drill_steps(job).empty();  // the end of a part of the run that others would have survived
  if (there == weights_yaml(job) || (there == weights_yaml(stopping) && !drilled)) return "";
  return first_difference(there, weights_yaml(job));
}

std::string any_difference(const JobSpec& there, const JobSpec& job) {
  const std::string left = to_yaml(there), right = to_yaml(job);
  return left == right ? "" : first_difference(left, right);
}

std::string state_difference(const RunState& state, const JobSpec& job) {
  if (std::string difference = job_difference(state.job, job); !difference.empty()) return difference;
  if (state.seed == job.seed) return "";
  return fmt::format("'seed: {}' there, 'seed: {}' here", state.seed, job.seed);
}

std::string samples_difference(const RunState& state, const DatasetPair& data) {
  if (state.train_samples < 0 || state.train_samples == data.train->size()) return "";
  return fmt::format("{} training samples there, {} here", state.train_samples, data.train->size());
}

std::string basis_difference(const Basis& there, const Basis& now) {
  const auto say = [](const std::string& name, const std::string* left, const std::string* right) {
    const std::string none = "none";
    return fmt::format("the checkpoint rests on {} {}, this run on {}", name, left == nullptr ? none : *left,
                       right == nullptr ? none : *right);
  };
  for (const auto& [name, value] : there) {
    const std::string* here = value_of(now, name);
    if (here == nullptr || *here != value) return say(name, &value, here);
  }
  for (const auto& [name, value] : now) {
    if (value_of(there, name) == nullptr) return say(name, nullptr, &value);
  }
  return "";
}

}  // namespace dptrain
