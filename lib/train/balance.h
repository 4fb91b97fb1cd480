// Purpose: `balance: auto`: what a micro-batch costs each replica, and when another assignment is worth a change.
// Thread safety: one thread. Invariants: it only proposes; who runs what changes no bit of the result.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace dptrain {

class Balancer {
 public:
  static constexpr std::size_t kWindow = 16;  ///< full steps that are looked at together
  static constexpr double kWorthIt = 0.95;    ///< a change must take a step below this part of its time

  explicit Balancer(int replicas) : samples_(static_cast<std::size_t>(replicas)) {}

  /// `step` was a full one, in which replica r took seconds[r] for shares[r] micro-batches. At the end of a window: the
  /// costs of a micro-batch by replica where another assignment would be so much better, measured by medians; replicas
  /// without micro-batches keep `costs`.
  std::optional<std::vector<double>> stepped(std::int64_t step, const std::vector<double>& seconds,
                                             const std::vector<int>& shares, const std::vector<double>& costs);
  /// The assignment is another from `step` on: what was measured before does not count, nor do the steps before it of
  /// which it will only be known what they took, because devices were still at work on them.
  void restart(std::int64_t step);

 private:
  void clear();

  std::int64_t first_ = 0;                    // of the steps that count
  std::vector<std::vector<double>> samples_;  // by replica, seconds a micro-batch
};

}  // namespace dptrain
