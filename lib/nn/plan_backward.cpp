#include <algorithm>

#include "nn/network.h"

namespace dptrain {

namespace {

/// A gradient where it lies; `owned`: whoever has it may overwrite it.
struct Gradient {
  int slot = kNone;
  bool owned = false;
};

class Planner {
 public:
  explicit Planner(Network& network) : network_(network) {}

  /// A slot that nobody uses, the first there is, made large enough.
  Gradient take(std::int64_t bytes) {
    std::size_t slot = 0;
    while (slot < used_.size() && used_[slot]) ++slot;
    if (slot == used_.size()) {
      used_.push_back(false);
      network_.slots.push_back(0);
    }
    used_[slot] = true;
    network_.slots[slot] = std::max(network_.slots[slot], bytes);
    return {static_cast<int>(slot), true};
  }

  /// From the gradient of a path's output to that of its input; none where nobody wants that.
  Gradient plan(const Path& path, Gradient gradient) {
    for (auto part = path.parts.rbegin(); part != path.parts.rend(); ++part) {
      if (!stage(part->stage).output_has_gradient) {
        give_back(gradient);
        return {};
      }
      gradient = part->fork ? plan_block(*part, gradient) : plan_layer(stage(part->stage), gradient);
      if (gradient.slot == kNone) return {};
    }
    return gradient;
  }

 private:
  Stage& stage(std::size_t s) { return network_.stages[s]; }
  std::int64_t bytes_of(int place) const { return network_.places[static_cast<std::size_t>(place)]; }
  void give_back(const Gradient& gradient) {
    if (gradient.owned) used_[static_cast<std::size_t>(gradient.slot)] = false;
  }

  Gradient plan_layer(Stage& s, Gradient gradient) {
    if (s.backward_behind) return gradient;
    s.has_backward = true;
    s.dy = gradient.slot;
    if (!s.input_has_gradient) {
      give_back(gradient);
      return {};
    }
    if (!s.layer->passes_through() && !(s.layer->backward_in_place() && gradient.owned)) {
      const Gradient dx = take(bytes_of(s.input));
      give_back(gradient);
      gradient = dx;
    }
    s.dx = gradient.slot;
    return gradient;
  }

  /// The gradient of the sum is that of both paths. Where the shortcut is none but the sum itself, it waits until the
  /// branch is done.
  Gradient plan_block(const Path::Part& block, const Gradient gradient) {
    Stage &sum = stage(block.stage), &fork = stage(*block.fork);
    const Path &branch = block.paths[0], &shortcut = block.paths[1];
    Gradient of_shortcut = {gradient.slot, false};
    if (!shortcut.parts.empty()) {
      if (!sum.sum->same_places()) {
        of_shortcut = take(bytes_of(sum.other));
        sum.has_backward = true;
        sum.dy = gradient.slot;
        sum.dx = of_shortcut.slot;
      }
      of_shortcut = plan(shortcut, of_shortcut);
    }
    const bool waits = of_shortcut.slot == gradient.slot;
    const Gradient of_branch = plan(branch, {gradient.slot, gradient.owned && !waits});
    const auto finish = [&](const Gradient& result) {
      give_back(of_shortcut);
      if (waits) give_back(gradient);
      return result;
    };
    if (!fork.input_has_gradient) return finish({});
    const Gradient result = of_branch.owned ? of_branch : take(bytes_of(fork.input));
    fork.has_backward = true;
    fork.dy = of_shortcut.slot;
    fork.base = of_branch.slot;
    fork.dx = result.slot;
    return finish(result);
  }

  Network& network_;
  std::vector<bool> used_;  // by slot
};

}  // namespace

void plan_backward(const Path& path, Network& network) {
  Planner planner(network);
  const Gradient of_loss = planner.take(network.stages.back().tensor.bytes());
  network.loss_slot = of_loss.slot;
  planner.plan(path, of_loss);
}

}  // namespace dptrain
