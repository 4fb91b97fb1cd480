// The stores: shards, the arithmetic of a version against the synchronous reducer's, who applies what, and many threads
// at once.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

#include "comm/local/local_group.h"
#include "core/philox.h"
#include "optim/optimizer.h"
#include "train/async/hosts/store_places.h"
#include "train/async/store/store.h"
#include "train/cpu/cpu_reducer.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFloats = 5000;

std::vector<float> values(std::uint32_t purpose, std::uint64_t item) {
  const RandomStream random(7, RandomPurpose::test, purpose, item);
  std::vector<float> out(static_cast<std::size_t>(kFloats));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = random.uniform(0, i) * 4 - 2;
  return out;
}

std::unique_ptr<Store> make(const StoreConfig& config, bool hogwild) {
  auto store = hogwild ? make_hogwild_store(config) : make_locked_store(config);
  const std::vector<float> first = values(0, 0);
  std::memcpy(store->weights(), first.data(), first.size() * sizeof(float));
  return store;
}

/// A store in parts, as hosts have them: each is told of a version and applies it on a thread of its own.
class Parts {
 public:
  Parts(StoreConfig config, int count, bool hogwild) : weights_(values(0, 0)) {
    for (int k = 0; k < count; ++k) {
      config.part = {k, count};
      config.norm = [this, k](std::int64_t version, const std::vector<double>& squares) {
        std::unique_lock lock(mutex_);
        squares_.resize(static_cast<std::size_t>(stores_.size()));
        squares_[static_cast<std::size_t>(k)] = squares;
        changed_.notify_all();
        changed_.wait(lock, [&] {
          return std::none_of(squares_.begin(), squares_.end(), [](const auto& one) { return one.empty(); });
        });
        std::vector<double> all;
        for (const auto& one : squares_) all.insert(all.end(), one.begin(), one.end());
        return norm_of(version, all);
      };
      stores_.push_back(make(config, hogwild));
    }
  }

  void update(std::int64_t version, const UpdateRule& rule, float samples, std::vector<std::vector<float>> gradients) {
    squares_.clear();
    std::vector<std::thread> threads;
    for (const auto& store : stores_) {
      VersionUpdate update{.samples = samples, .rule = rule};
      for (auto& gradient : gradients) update.leaves.push_back({gradient.data() + store->part().first, 1});
      store->announce(version, std::move(update));
      threads.emplace_back([&store = *store, version] { store.apply(version); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  /// Of all parts, pulled; all shards are of that version.
  std::vector<float> weights(std::int64_t version) {
    std::vector<float> pulled(weights_.size());
    for (const auto& store : stores_) {
      std::vector<std::int64_t> read(store->shards());
      store->pull(pulled.data() + store->part().first, version, read);
      CHECK(read == std::vector<std::int64_t>(store->shards(), version));
    }
    return pulled;
  }

 private:
  const std::vector<float> weights_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<double>> squares_;
  std::vector<std::unique_ptr<Store>> stores_;
};

std::vector<float> weights_of(const Store& store) {
  return {store.weights(), store.weights() + kFloats};
}

}  // namespace

TEST_CASE("shards cover the buffer, cut at multiples of 1024 floats") {
  for (const std::int64_t wanted : {1, 2, 3, 5, 100}) {
    const auto store = make_locked_store({.floats = kFloats, .shards = wanted});
    CHECK(store->shards() == static_cast<std::size_t>(std::min<std::int64_t>(wanted, 5)));
    int end = 0;
    for (std::size_t k = 0; k < store->shards(); ++k) {
      CHECK(store->shard(k).first == end);
      CHECK(end % 1024 == 0);
      end = store->shard(k).last;
    }
    CHECK(end == kFloats);
  }
}

TEST_CASE("hosts share the shards out, and none is without one") {
  for (const int hosts : {1, 2, 3, 8}) {
    for (const std::int64_t wanted : {1, 4, 5, 100}) {
      std::vector<int> firsts(static_cast<std::size_t>(hosts));
      std::iota(firsts.begin(), firsts.end(), 0);
      const std::vector<StorePlace> places = places_of_parts(kFloats, wanted, firsts);
      const std::vector<Range> shards = cut_shards(kFloats, wanted);
      CHECK(places.size() == std::min(shards.size(), firsts.size()));
      int shard = 0, end = 0;
      for (std::size_t k = 0; k < places.size(); ++k) {
        CHECK(places[k].process == static_cast<int>(k));
        CHECK(places[k].shards.first == shard);
        CHECK(places[k].floats.first == end);
        CHECK(places[k].shards.count() > 0);
        shard = places[k].shards.last;
        end = places[k].floats.last;
        const auto store = make_locked_store(
            {.floats = kFloats, .shards = wanted, .part = {static_cast<int>(k), static_cast<int>(places.size())}});
        CHECK(store->part() == places[k].floats);
        CHECK(store->shards() == static_cast<std::size_t>(places[k].shards.count()));
      }
      CHECK(shard == static_cast<int>(shards.size()));
      CHECK(end == kFloats);
    }
  }
}

TEST_CASE("a version of a step's gradients has the bits of the synchronous step") {
  const std::vector<OptimizerSpec> optimizers = {
      SgdSpec{.lr = 0.1, .weight_decay = 1e-3}, SgdSpec{.lr = 0.1, .momentum = 0.9, .nesterov = true},
      AdamSpec{.lr = 0.1, .weight_decay = 0.1, .decoupled_weight_decay = true}};
  for (const OptimizerSpec& spec : optimizers) {
    for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.5)}) {
      for (const int count : {1, 2, 5, 8}) {
        const OptimizerSpec& optimizer = spec;
        const StepPlan plan = plan_step(count * 3 - 1, 3, 1);
        LocalGroup group(1);
        CpuReducer reducer(group, kFloats, state_buffers(optimizer), clip);
        const std::vector<float> first = values(0, 0);
        reducer.load(first.data());
        const StoreConfig config{
            .floats = kFloats, .state_buffers = state_buffers(optimizer), .shards = 3, .clip_norm = clip};
        const auto locked = make(config, false), hogwild = make(config, true);
        Parts two(config, 2, false), three(config, 3, true);
        for (std::int64_t step = 0; step < 4; ++step) {
          std::vector<std::vector<float>> gradients, again;
          for (int m = 0; m < count; ++m) gradients.push_back(values(1, static_cast<std::uint64_t>(step * count + m)));
          again = gradients;
          const UpdateRule rule = rule_of(optimizer, step, 0.1);
          for (Store* store : {locked.get(), hogwild.get()}) {
            again = gradients;  // clipping works in place
            VersionUpdate update{.samples = static_cast<float>(plan.samples), .rule = rule};
            for (auto& gradient : again) update.leaves.push_back({gradient.data(), 1});
            store->announce(step + 1, update);
            store->apply(step + 1);
          }
          for (Parts* parts : {&two, &three})
            parts->update(step + 1, rule, static_cast<float>(plan.samples), gradients);
          // The replica's part of the tree, in its buffers.
          std::vector<float*> buffers;
          for (auto& gradient : gradients) buffers.push_back(gradient.data());
          std::vector<float*> stack;
          std::vector<std::vector<float>> held(static_cast<std::size_t>(plan.programs[0].buffers));
          for (const auto& instruction : plan.programs[0].instructions) {
            auto& target = held[static_cast<std::size_t>(instruction.buffer)];
            if (instruction.kind == ReplicaProgram::Instruction::Kind::run) {
              target = gradients[static_cast<std::size_t>(instruction.micro_batch)];
            } else {
              const auto& other = held[static_cast<std::size_t>(instruction.buffer) + 1];
              for (std::size_t i = 0; i < target.size(); ++i) target[i] += other[i];
            }
          }
          for (auto& buffer : held) stack.push_back(buffer.data());
          reducer.lend(0, stack);
          reducer.begin(0, rule);
          reducer.gather(0);
          reducer.update(0, plan);
        }
        std::vector<float> expected(first.size());
        reducer.save(expected.data());
        CHECK(weights_of(*locked) == expected);
        CHECK(weights_of(*hogwild) == expected);
        CHECK(two.weights(4) == expected);
        CHECK(three.weights(4) == expected);
      }
    }
  }
}

TEST_CASE("a pull brings shards to the version that it asks for, whoever fell behind") {
  const auto store = make({.floats = kFloats, .shards = 3, .most_at_once = 2}, false);
  std::vector<float> gradient(static_cast<std::size_t>(kFloats), 1), pulled(gradient.size());
  std::vector<std::int64_t> read(3, -1);
  store->announce(1, {.leaves = {{gradient.data(), 1}}, .rule = SgdRule{.lr = 1}});
  store->pull(pulled.data(), 0, read);
  CHECK(read == std::vector<std::int64_t>{0, 0, 0});
  CHECK(pulled == values(0, 0));
  store->pull(pulled.data(), 1, read);
  CHECK(read == std::vector<std::int64_t>{1, 1, 1});
  CHECK(pulled[4999] == values(0, 0)[4999] - 1);
  store->apply(1);
  CHECK(weights_of(*store) == pulled);
}

TEST_CASE("a gradient's scale is of its sum, not of the samples") {
  const auto store = make({.floats = kFloats}, false);
  std::vector<float> one(static_cast<std::size_t>(kFloats), 8), two(one);
  store->announce(1, {.leaves = {{one.data(), 1}, {two.data(), 0.5f}}, .samples = 4, .rule = SgdRule{.lr = 1}});
  store->apply(1);
  CHECK(store->weights()[17] == values(0, 0)[17] - 3);
}

TEST_CASE(
    "statistics go towards the mean of what was seen, whatever scales and clips the gradient; some do not decay") {
  const UpdateRanges ranges{{0, 1024, Treatment::decayed},
                            {1024, 1024, Treatment::undecayed},
                            {2048, kFloats - 2048, Treatment::statistic, 0.25f}};
  const std::vector<float> before = values(0, 0);
  for (const bool hogwild : {false, true}) {
    for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(1e-3)}) {
      const auto store = make({.floats = kFloats, .ranges = ranges, .shards = 3, .clip_norm = clip}, hogwild);
      std::vector<float> one(static_cast<std::size_t>(kFloats), 8), two(one);
      store->announce(1, {.leaves = {{one.data(), 1}, {two.data(), 0.5f}},
                          .samples = 4,
                          .rule = SgdRule{.lr = 1, .weight_decay = 0.5f}});
      store->apply(1);
      const float* after = store->weights();
      CHECK(after[3000] == before[3000] + 0.25f * (4 - before[3000]));
      const float step = clip ? static_cast<float>(1e-3 / std::sqrt(2048.0)) : 3.0f;
      CHECK(after[17] == doctest::Approx(before[17] * 0.5 - step).epsilon(1e-5));
      CHECK(after[1100] == doctest::Approx(before[1100] - step).epsilon(1e-5));
    }
  }
}

TEST_CASE("many threads: all updates arrive, and no pull reads older than asked") {
  constexpr int kThreads = 4;
  constexpr std::int64_t kPushes = 400;
  for (const bool hogwild : {false, true}) {
    for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(1e9)}) {
      const auto store = make({.floats = kFloats, .shards = 4, .most_at_once = kThreads, .clip_norm = clip}, hogwild);
      std::fill_n(store->weights(), kFloats, 0.0f);
      std::mutex mutex;
      std::int64_t version = 0;
      const auto work = [&] {
        std::vector<float> gradient(static_cast<std::size_t>(kFloats)), pulled(gradient.size());
        std::vector<std::int64_t> read(store->shards());
        for (std::int64_t k = 0; k < kPushes; ++k) {
          std::int64_t mine = 0;
          std::fill(gradient.begin(), gradient.end(), 1.0f);
          {
            const std::lock_guard lock(mutex);
            store->announce(mine = ++version, {.leaves = {{gradient.data(), 1}}, .rule = SgdRule{.lr = 1}});
          }
          store->apply(mine);
          const std::int64_t asked = k % 2 == 0 ? mine : 0;
          store->pull(pulled.data(), hogwild ? 0 : asked, read);
          for (std::size_t s = 0; s < read.size() && !hogwild; ++s) {
            REQUIRE(read[s] >= asked);
            REQUIRE(pulled[static_cast<std::size_t>(store->shard(s).first)] == -static_cast<float>(read[s]));
            REQUIRE(pulled[static_cast<std::size_t>(store->shard(s).last - 1)] == -static_cast<float>(read[s]));
          }
        }
      };
      std::vector<std::thread> threads;
      for (int t = 0; t < kThreads; ++t) threads.emplace_back(work);
      for (std::thread& thread : threads) thread.join();
      if (!hogwild)
        CHECK(weights_of(*store) == std::vector<float>(static_cast<std::size_t>(kFloats), -kThreads * kPushes));
      std::vector<float> pulled(static_cast<std::size_t>(kFloats));
      std::vector<std::int64_t> read(store->shards());
      store->pull(pulled.data(), version, read);  // all of them are complete
      CHECK(read[0] == version);
    }
  }
}

}  // namespace dptrain
