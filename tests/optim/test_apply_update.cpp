// Where an element stands, and what stands around it, does not change its bits.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cstring>
#include <limits>

#include "core/philox.h"
#include "kernels/cpu/apply_update.h"
#include "optim/optimizer.h"

using namespace dptrain;

namespace {

std::vector<float> random_floats(std::size_t count, std::uint32_t stream) {
  const RandomStream random(1, RandomPurpose::test, stream);
  std::vector<float> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = random.uniform(0, i) * 4 - 2;
  return result;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<OptimizerSpec> specs() {
  return {SgdSpec{.lr = 0.1, .weight_decay = 1e-3},
          SgdSpec{.lr = 0.1, .momentum = 0.9, .dampening = 0.1, .weight_decay = 1e-3},
          SgdSpec{.lr = 0.1, .momentum = 0.9, .nesterov = true},
          AdamSpec{.lr = 0.1, .weight_decay = 0.1},
          AdamSpec{.lr = 0.1, .beta1 = 0.4},
          AdamSpec{.lr = 0.1, .weight_decay = 0.1, .decoupled_weight_decay = true},
          RmspropSpec{.weight_decay = 0.1},
          RmspropSpec{.momentum = 0.9},
          AdagradSpec{.weight_decay = 0.1}};
}

struct Buffers {
  std::vector<float> parameters, gradients, state0, state1;

  explicit Buffers(std::size_t count)
      : parameters(random_floats(count, 1)),
        gradients(random_floats(count, 2)),
        state0(random_floats(count, 3)),
        state1(random_floats(count, 4)) {
    // Running means of squares, where they are that.
    for (std::vector<float>* state : {&state0, &state1})
      for (float& value : *state) value = value * value;
  }
  void update(const UpdateRule& rule, std::size_t begin, std::size_t end) {
    const auto part = [&](std::vector<float>& buffer) { return std::span(buffer).subspan(begin, end - begin); };
    apply_update(rule, part(parameters), part(gradients), part(state0), part(state1));
  }
};

}  // namespace

TEST_CASE("updating slice by slice gives the bits of updating all at once") {
  CHECK(rc::check([] {
    const OptimizerSpec spec = *rc::gen::elementOf(specs());
    const auto count = *rc::gen::inRange<std::size_t>(1, 300);
    const auto step = *rc::gen::inRange<std::int64_t>(0, 50);
    const UpdateRule rule = rule_of(spec, step, 0.1);
    Buffers whole(count), sliced(count);
    whole.update(rule, 0, count);
    for (std::size_t begin = 0; begin < count;) {
      const std::size_t end = begin + *rc::gen::inRange<std::size_t>(1, count - begin + 1);
      sliced.update(rule, begin, end);
      begin = end;
    }
    RC_ASSERT(same_bits(whole.parameters, sliced.parameters));
    RC_ASSERT(same_bits(whole.state0, sliced.state0));
    RC_ASSERT(same_bits(whole.state1, sliced.state1));
    RC_ASSERT(!same_bits(whole.parameters, Buffers(count).parameters));
  }));
}

TEST_CASE("the loop gives the bits of the rule called alone") {
  for (const OptimizerSpec& spec : specs()) {
    const UpdateRule rule = rule_of(spec, 3, 0.1);
    constexpr std::size_t kCount = 100;
    Buffers looped(kCount), called(kCount);
    looped.update(rule, 0, kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      float& parameter = called.parameters[i];
      const float gradient = called.gradients[i];
      std::visit(
          [&](const auto& named) {
            constexpr int buffers = std::decay_t<decltype(named)>::state_buffers;
            if constexpr (buffers == 0) named(parameter, gradient);
            if constexpr (buffers == 1) named(parameter, gradient, called.state0[i]);
            if constexpr (buffers == 2) named(parameter, gradient, called.state0[i], called.state1[i]);
          },
          rule);
    }
    CHECK(same_bits(looped.parameters, called.parameters));
    CHECK(same_bits(looped.state0, called.state0));
    CHECK(same_bits(looped.state1, called.state1));
  }
}

TEST_CASE("a value that is not finite stays where it is") {
  for (const OptimizerSpec& spec : specs()) {
    const UpdateRule rule = rule_of(spec, 3, 0.1);
    Buffers clean(64), tainted(64);
    tainted.gradients[33] = std::numeric_limits<float>::quiet_NaN();
    clean.update(rule, 0, 64);
    tainted.update(rule, 0, 64);
    for (std::size_t i = 0; i < 64; ++i) {
      if (i == 33) {
        CHECK(tainted.parameters[i] != tainted.parameters[i]);
      } else {
        CHECK(tainted.parameters[i] == clean.parameters[i]);
      }
    }
  }
}

TEST_CASE("ranges: each part by its own rule, wherever the flat buffer is cut") {
  const UpdateRanges ranges{{0, 32},
                            {32, 16, Treatment::undecayed},
                            {48, 48, Treatment::statistic, 0.25f},
                            {96, 16, Treatment::statistic, 0.5f},
                            {112, 88}};
  CHECK(rc::check([&] {
    const OptimizerSpec spec = *rc::gen::elementOf(specs());
    const UpdateRule rule = rule_of(spec, 2, 0.1);
    Buffers wanted(200), sliced(200);
    const Buffers start(200);
    for (const UpdateRange& range : ranges) {
      const auto first = static_cast<std::size_t>(range.first), last = first + static_cast<std::size_t>(range.count);
      if (range.treatment == Treatment::decayed) wanted.update(rule, first, last);
      if (range.treatment == Treatment::undecayed) wanted.update(without_decay(rule), first, last);
      for (std::size_t i = first; range.treatment == Treatment::statistic && i < last; ++i)
        wanted.parameters[i] += range.statistic_rate * (wanted.gradients[i] - wanted.parameters[i]);
    }
    for (std::size_t begin = 0; begin < 200;) {
      const std::size_t end = begin + *rc::gen::inRange<std::size_t>(1, 200 - begin + 1);
      const auto part = [&](std::vector<float>& buffer) { return std::span(buffer).subspan(begin, end - begin); };
      apply_update(rule, ranges, static_cast<std::int64_t>(begin), part(sliced.parameters), part(sliced.gradients),
                   part(sliced.state0), part(sliced.state1));
      begin = end;
    }
    RC_ASSERT(same_bits(wanted.parameters, sliced.parameters));
    RC_ASSERT(same_bits(wanted.state0, sliced.state0));
    for (std::size_t i = 48; i < 112; ++i) RC_ASSERT(sliced.state0[i] == start.state0[i]);
  }));
}

TEST_CASE("statistics are no part of norms, and are not clipped") {
  const UpdateRanges ranges{{0, 16}, {16, 16, Treatment::statistic, 0.25f}, {32, 16, Treatment::undecayed}};
  std::vector<float> gradients(48, 2.0f), clipped(48);
  CHECK(trained_squares({}, 0, gradients) == 4 * 48);
  CHECK(trained_squares(ranges, 0, gradients) == 4 * 32);
  CHECK(trained_squares(ranges, 24, std::span(gradients).subspan(24)) == 4 * 16);
  clip_trained(ranges, 0, 0.5f, gradients, clipped.data());
  for (std::size_t i = 0; i < 48; ++i) CHECK(clipped[i] == (i / 16 == 1 ? 2.0f : 1.0f));
}

TEST_CASE("without decay a rule is that of an optimizer without weight decay") {
  const auto same = [](const OptimizerSpec& with, const OptimizerSpec& without) {
    Buffers a(50), b(50);
    a.update(without_decay(rule_of(with, 4, 0.1)), 0, 50);
    b.update(rule_of(without, 4, 0.1), 0, 50);
    return same_bits(a.parameters, b.parameters) && same_bits(a.state0, b.state0) && same_bits(a.state1, b.state1);
  };
  CHECK(same(SgdSpec{.lr = 1, .weight_decay = 0.1}, SgdSpec{.lr = 1}));
  CHECK(same(SgdSpec{.lr = 1, .momentum = 0.9, .weight_decay = 0.1}, SgdSpec{.lr = 1, .momentum = 0.9}));
  CHECK(same(AdamSpec{.weight_decay = 0.1}, AdamSpec{}));
  CHECK(same(RmspropSpec{.weight_decay = 0.1}, RmspropSpec{}));
  CHECK(same(RmspropSpec{.momentum = 0.9, .weight_decay = 0.1}, RmspropSpec{.momentum = 0.9}));
  CHECK(same(AdagradSpec{.weight_decay = 0.1}, AdagradSpec{}));
  CHECK(same(AdamSpec{.weight_decay = 0.1, .decoupled_weight_decay = true}, AdamSpec{.decoupled_weight_decay = true}));
}

TEST_CASE("buffers of the wrong size are refused, unused ones may be empty") {
  std::vector<float> three(3, 1.0f), two(2, 1.0f);
  CHECK_THROWS(apply_update(SgdRule{}, three, two, {}, {}));
  CHECK_THROWS(apply_update(MomentumRule{}, three, three, two, {}));
  CHECK_THROWS(apply_update(AdamRule{}, three, three, three, two));
  CHECK_NOTHROW(apply_update(SgdRule{}, three, three, {}, {}));
  CHECK_NOTHROW(apply_update(MomentumRule{}, three, three, three, {}));
  CHECK_NOTHROW(apply_update(AdamRule{}, {}, {}, {}, {}));
}
