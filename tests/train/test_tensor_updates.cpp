// LARS, LAMB and Muon through the reducer: twenty steps against the golden file, at any number of replicas the same
// bits; and the moving average.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "kernels/cpu/orthogonalise.h"
#include "optim/average.h"
#include "optim/optimizer.h"
#include "support/golden.h"
#include "train/cpu/cpu_reducer.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

struct Golden {
  SafetensorsFile file = read_safetensors(testing::golden_folder() / "tensor_updates.safetensors");
  std::vector<std::string> names;  // of the tensors
  ParameterTable table;

  Golden() {
    std::vector<Parameter> parameters;
    for (const auto& [key, tensor] : file.tensors) {
      if (!key.starts_with("initial.")) continue;
      Parameter parameter;
      parameter.name = key.substr(std::string("initial.").size());
      const std::vector<std::int64_t>& extents = tensor.shape;
      parameter.desc.shape = extents.size() == 1   ? Shape{extents[0]}
                             : extents.size() == 2 ? Shape{extents[0], extents[1]}
                                                   : Shape{extents[0], extents[1], extents[2], extents[3]};
      parameter.desc.stored_floats = parameter.desc.shape.elements();
      const bool bias = parameter.name.find("bias") != std::string::npos;
      parameter.desc.role = bias ? ParameterRole::bias : ParameterRole::weight;
      names.push_back(parameter.name);
      parameters.push_back(std::move(parameter));
    }
    table = ParameterTable(std::move(parameters));
  }
  TrainSpec train(const std::string& optimizer, const std::string& more = "") const {
    return testing::job_of("{input: [2], layers: [{linear: 2}]}",
                           fmt::format("{{steps: 1, global_batch_size: 1, optimizer: {}{}}}", optimizer, more))
        .train;
  }
  /// `key` + tensor of all tensors in the flat layout; of step `step` where there are several.
  std::vector<float> flat(const std::string& key, std::size_t step = 0) const {
    std::vector<float> all(static_cast<std::size_t>(table.floats()));
    for (const Parameter& p : table.all()) {
      const auto values = file.floats(key + p.name);
      const auto count = static_cast<std::size_t>(p.desc.shape.elements());
      std::memcpy(all.data() + p.offset, values.data() + step * count, count * sizeof(float));
    }
    return all;
  }
};

/// The parameters after each step, and the average after the last where one is kept.
std::vector<std::vector<float>> run(const Golden& golden, const TrainSpec& train, int replicas,
                                    std::optional<double> clip = {}) {
  const OptimizerSpec& optimizer = train.optimizer;
  LocalGroup group(replicas);
  CpuReducer reducer(group, golden.table.floats(), state_buffers(optimizer), clip, update_plan(golden.table, train));
  reducer.load(golden.flat("initial.").data());
  const StepPlan plan = plan_step(1, 1, 1);
  std::vector<float> gradient(static_cast<std::size_t>(golden.table.floats()));
  std::vector<std::vector<float>> after(20, gradient);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < replicas; ++rank) {
    threads.emplace_back([&, rank] {
      reducer.lend(rank, {gradient.data()}, &golden.table);
      for (std::size_t step = 0; step < after.size(); ++step) {
        if (rank == 0) std::ranges::copy(golden.flat("gradients.", step), gradient.begin());
        const auto number = static_cast<std::int64_t>(step);
        reducer.begin(rank, {rule_of(optimizer, number, base_lr(train.optimizer)),
                             train.ema ? average_rule(train.ema->decay, number) : AverageRule{}});
        reducer.gather(rank);
        reducer.update(rank, plan);
        if (rank == 0) reducer.save(after[step].data());
        group.barrier();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (train.ema) {
    after.emplace_back(gradient.size());
    reducer.save_state(state_buffers(optimizer), after.back().data());
  }
  return after;
}

double worst(const std::vector<float>& values, const std::vector<float>& wanted) {
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, std::abs(double{wanted[i]}));
    difference = std::max(difference, std::abs(double{values[i]} - double{wanted[i]}));
  }
  return difference / largest;
}

}  // namespace

TEST_CASE("twenty steps agree with PyTorch's and the formulas', at any number of replicas with the same bits") {
  const Golden golden;
  REQUIRE(golden.file.metadata.size() == 6);
  double all = 0;
  for (const auto& [name, spec] : golden.file.metadata) {
    CAPTURE(name);
    const TrainSpec train = golden.train(spec);
    const auto one = run(golden, train, 1);
    double within = 0;
    for (std::size_t step = 0; step < one.size(); ++step)
      within = std::max(within, worst(one[step], golden.flat(name + ".", step)));
    CHECK(within < 1e-4);
    all = std::max(all, within);
    for (const int replicas : {2, 3, 4}) CHECK(run(golden, train, replicas) == one);
    const auto clipped = run(golden, train, 1, 0.5);
    CHECK(clipped != one);
    for (const int replicas : {2, 3, 4}) CHECK(run(golden, train, replicas, 0.5) == clipped);
  }
  MESSAGE("within ", all);
}

TEST_CASE("the average of the weights is AveragedModel's") {
  const SafetensorsFile file = read_safetensors(testing::golden_folder() / "optimizers.safetensors");
  const auto trajectory = file.floats("sgd_momentum.parameters"), wanted = file.floats("ema.average");
  std::vector<float> average(wanted.size(), 99.0f);  // the first step takes its place
  for (std::size_t step = 0; step < trajectory.size() / wanted.size(); ++step)
    follow(average_rule(0.8, static_cast<std::int64_t>(step)), average.data(), &trajectory[step * wanted.size()],
           static_cast<std::int64_t>(wanted.size()));
  CHECK(worst(average, {wanted.begin(), wanted.end()}) < 1e-6);
}

TEST_CASE("every optimizer's weights are averaged as they are, by whichever replica updates them") {
  const Golden golden;
  for (const char* optimizer :
       {"{name: sgd, lr: 0.1}", "{name: adam}", "{name: lars, lr: 1}", "{name: lamb}", "{name: muon}"}) {
    CAPTURE(optimizer);
    const TrainSpec train = golden.train(optimizer, ", ema: {decay: 0.7}");
    const auto one = run(golden, train, 1);
    std::vector<float> average(one[0].size());
    for (std::size_t step = 0; step < 20; ++step) {
      for (std::size_t i = 0; i < average.size(); ++i)
        average_rule(0.7, static_cast<std::int64_t>(step))(average[i], one[step][i]);
    }
    CHECK(one.back() == average);
    CHECK(run(golden, train, 3) == one);
    const auto without = run(golden, golden.train(optimizer), 2);
    CHECK(std::equal(without.begin(), without.end(), one.begin()));
  }
}

TEST_CASE("singular values come near to 1, of a matrix and of its transpose alike") {
  constexpr std::int64_t kRows = 3, kColumns = 5;
  std::vector<float> wide(kRows * kColumns), tall(wide.size());
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kColumns; ++c) {
      const auto value = static_cast<float>((r * 7 + c * c * 3 + 2) % 11) - 5.0f;
      wide[static_cast<std::size_t>(r * kColumns + c)] = tall[static_cast<std::size_t>(c * kRows + r)] = value;
    }
  }
  std::vector<float> scratch(static_cast<std::size_t>(orthogonalise_scratch(kRows, kColumns)));
  orthogonalise(kRows, kColumns, 8, 1e-7f, wide.data(), scratch.data());
  orthogonalise(kColumns, kRows, 8, 1e-7f, tall.data(), scratch.data());
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t c = 0; c < kColumns; ++c)
      CHECK(std::abs(wide[static_cast<std::size_t>(r * kColumns + c)] - tall[static_cast<std::size_t>(c * kRows + r)]) <
            1e-4);
    double squares = 0;
    for (std::int64_t c = 0; c < kColumns; ++c)
      squares += std::pow(wide[static_cast<std::size_t>(r * kColumns + c)], 2);
    CHECK(squares > 0.4);  // Jordan's coefficients bring them between 0.7 and 1.2, no nearer
    CHECK(squares < 1.6);
  }
  std::vector<float> nothing(15, 0.0f);
  orthogonalise(kRows, kColumns, 5, 1e-7f, nothing.data(), scratch.data());
  CHECK(nothing == std::vector<float>(15, 0.0f));
}

}  // namespace dptrain
