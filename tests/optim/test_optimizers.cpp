// Twenty steps of every optimizer setting against PyTorch's, from the golden file; and clipping.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "interop/safetensors.h"
#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "optim/optimizer.h"

using namespace dptrain;

namespace {

struct Setting {
  std::string name;  ///< in the golden file
  OptimizerSpec spec;
  double lr_decay = 1;
};

/// The settings of scripts/make_golden.
std::vector<Setting> settings() {
  return {
      {"sgd", SgdSpec{.lr = 0.1}},
      {"sgd_weight_decay", SgdSpec{.lr = 0.1, .weight_decay = 0.01}},
      {"sgd_momentum", SgdSpec{.lr = 0.05, .momentum = 0.9}},
      {"sgd_momentum_decay", SgdSpec{.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}},
      {"sgd_dampening", SgdSpec{.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01}},
      {"sgd_nesterov", SgdSpec{.lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4}},
      {"adam", AdamSpec{.lr = 0.01}},
      {"adam_betas", AdamSpec{.lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3}},
      {"adam_short_memory", AdamSpec{.lr = 0.02, .beta1 = 0.3, .beta2 = 0.9}},
      {"adam_weight_decay", AdamSpec{.lr = 0.01, .weight_decay = 0.1}},
      {"adamw", AdamSpec{.lr = 0.01, .weight_decay = 0.01, .decoupled_weight_decay = true}},
      {"adamw_strong", AdamSpec{.lr = 0.05, .weight_decay = 0.5, .decoupled_weight_decay = true}},
      {"sgd_momentum_lr_decay", SgdSpec{.lr = 0.1, .momentum = 0.9}, 0.8},
      {"rmsprop", RmspropSpec{}},
      {"rmsprop_decay", RmspropSpec{.lr = 0.02, .alpha = 0.9, .epsilon = 1e-3, .weight_decay = 0.1}},
      {"rmsprop_momentum", RmspropSpec{.momentum = 0.9, .weight_decay = 0.01}, 0.8},
      {"adagrad", AdagradSpec{.lr = 0.05}},
      {"adagrad_decay", AdagradSpec{.lr = 0.1, .lr_decay = 0.1, .epsilon = 1e-3, .weight_decay = 0.1}},
      {"adamw_lr_decay", AdamSpec{.lr = 0.02, .weight_decay = 0.1, .decoupled_weight_decay = true}, 0.8},
  };
}

/// A buffer that changes from step to step, and the largest magnitude that each element has had. Its rounding errors
/// are in proportion to that: sums that nearly cancel keep the errors of their terms.
struct Tracked {
  std::vector<float> values;
  std::vector<double> peak;

  explicit Tracked(std::vector<float> initial) : values(std::move(initial)), peak(values.size()) { observe(); }
  void observe() {
    for (std::size_t i = 0; i < values.size(); ++i) peak[i] = std::max(peak[i], std::abs(double{values[i]}));
  }
  /// The largest difference from `golden`, relative to the element's peak.
  double worst(std::span<const float> golden) const {
    REQUIRE(golden.size() == values.size());
    double result = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double difference = std::abs(double{values[i]} - double{golden[i]});
      if (difference > 0) result = std::max(result, difference / peak[i]);
    }
    return result;
  }
};

}  // namespace

TEST_CASE("twenty steps agree with PyTorch's") {
  const SafetensorsFile golden = read_safetensors(DPTRAIN_TESTS_DIR "/golden/optimizers.safetensors");
  const auto initial = golden.floats("initial");
  const auto gradients = golden.floats("gradients");
  const std::size_t n = initial.size(), steps = gradients.size() / n;
  REQUIRE(n == 37);
  REQUIRE(steps == 20);
  std::set<std::string> tested;
  double all_within = 0;
  for (const Setting& setting : settings()) {
    CAPTURE(setting.name);
    tested.insert(setting.name);
    const OptimizerSpec& optimizer = setting.spec;
    Tracked parameters({initial.begin(), initial.end()});
    std::vector<Tracked> state(2, Tracked(std::vector<float>(n, 0.0f)));
    const auto trajectory = golden.floats(setting.name + ".parameters");
    double lr = base_lr(setting.spec), parameters_within = 0, state_within = 0;
    for (std::size_t step = 0; step < steps; ++step, lr *= setting.lr_decay) {
      apply_update(rule_of(optimizer, static_cast<std::int64_t>(step), lr), parameters.values,
                   gradients.subspan(step * n, n), state[0].values, state[1].values);
      for (Tracked* buffer : {&parameters, &state[0], &state[1]}) buffer->observe();
      parameters_within = std::max(parameters_within, parameters.worst(trajectory.subspan(step * n, n)));
    }
    CHECK(parameters_within < 1e-6);

    const std::vector<std::string> names = state_names(optimizer);
    REQUIRE(state_buffers(optimizer) == static_cast<int>(names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) {
      state_within = std::max(state_within, state[i].worst(golden.floats(setting.name + "." + names[i])));
    }
    CHECK(state_within < 1e-6);
    all_within = std::max({all_within, parameters_within, state_within});
  }
  for (const auto& [name, spec] : golden.metadata) CHECK(tested.contains(name));
  MESSAGE("parameters and state within ", all_within);
}

TEST_CASE("what a rule keeps") {
  CHECK(state_names(SgdSpec{.lr = 1}).empty());
  CHECK(state_names(SgdSpec{.lr = 1, .momentum = 0.5}) == std::vector<std::string>{"momentum_buffer"});
  CHECK(state_names(AdamSpec{}) == std::vector<std::string>{"exp_avg", "exp_avg_sq"});
  CHECK(state_names(RmspropSpec{}) == std::vector<std::string>{"square_avg"});
  CHECK(state_names(RmspropSpec{.momentum = 0.5}) == std::vector<std::string>{"square_avg", "momentum_buffer"});
  CHECK(state_names(AdagradSpec{}) == std::vector<std::string>{"sum"});
  CHECK(state_names(LarsSpec{}) == std::vector<std::string>{"momentum_buffer"});
  CHECK(state_names(LambSpec{}) == std::vector<std::string>{"exp_avg", "exp_avg_sq"});
  CHECK(state_names(MuonSpec{}) == std::vector<std::string>{"momentum_buffer", "exp_avg_sq"});
  CHECK(base_lr(SgdSpec{.lr = 0.25}) == 0.25);
}

TEST_CASE("Adam's bias correction still works late in a run") {
  const AdamSpec adam{.lr = 0.5};
  const AdamRule rule = rule_of(adam, std::int64_t{1} << 40, 0.5);
  CHECK(rule.step_size == 0.5f);
  CHECK(rule.square_correction == 1.0f);
  const AdamRule first = rule_of(adam, 0, 0.5);
  CHECK(first.step_size == doctest::Approx(5.0));
  CHECK(first.square_correction == doctest::Approx(std::sqrt(0.001)));
}

TEST_CASE("the clip factor is torch.nn.utils.clip_grad_norm_'s") {
  CHECK(clip_factor(0, 1) == 1);
  CHECK(clip_factor(0.999, 1) == 1);
  CHECK(clip_factor(1, 1) == static_cast<float>(1 / (1 + 1e-6)));
  CHECK(clip_factor(8, 2) == static_cast<float>(2 / (8 + 1e-6)));
  CHECK(clip_factor(std::numeric_limits<double>::infinity(), 1) == 0);
  CHECK(std::isnan(clip_factor(std::numeric_limits<double>::quiet_NaN(), 1)));
}
