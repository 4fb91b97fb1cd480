#include "train/update_plan.h"

#include "core/error.h"
#include "optim/optimizer.h"
#include "spec/reader.h"

namespace dptrain {

namespace {

/// Each tensor by itself, up to where the next begins.
UpdateRanges tensor_ranges(const ParameterTable& table, const UpdateRanges& ranges) {
  UpdateRanges tensors;
  std::size_t k = 0;
  const std::vector<Parameter>& all = table.all();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t end = i + 1 < all.size() ? all[i + 1].offset : table.floats();
    while (k < ranges.size() && ranges[k].first + ranges[k].count <= all[i].offset) ++k;
    UpdateRange tensor = k < ranges.size() ? ranges[k] : UpdateRange{};
    tensor.first = all[i].offset;
    tensor.count = end - all[i].offset;
    tensors.push_back(tensor);
  }
  return tensors;
}

/// Weights of two axes and more, all axes but the first as one.
std::vector<UpdateMatrix> matrices_of(const ParameterTable& table, UpdateRanges& tensors) {
  std::vector<UpdateMatrix> matrices;
  for (std::size_t i = 0; i < table.all().size(); ++i) {
    const ParameterDesc& desc = table.all()[i].desc;
    if (desc.role != ParameterRole::weight || desc.is_fixed() || desc.shape.rank() < 2) continue;
    tensors[i].treatment = Treatment::matrix;
    const std::int64_t rows = desc.shape[0];
    matrices.push_back({i, tensors[i].first, tensors[i].count, rows, desc.shape.elements() / rows});
  }
  return matrices;
}

}  // namespace

UpdatePlan update_plan(const ParameterTable& table, const TrainSpec& train) {
  UpdatePlan plan{.ranges = update_ranges(table, decay_on(train.optimizer)), .average = train.ema.has_value()};
  if (!takes_whole_tensors(train.optimizer)) return plan;
  plan.tensors = tensor_ranges(table, plan.ranges);
  if (std::holds_alternative<MuonSpec>(train.optimizer)) plan.matrices = matrices_of(table, plan.tensors);
  return plan;
}

void check_elementwise(const JobSpec& job) {
  const auto refuse = [&](const SourceMark& at, const std::string& what) {
    throw Error(ExitStatus::usage, complaint(at, fmt::format("{} is for mode: sync, and this is mode: {}", what,
                                                             job.mode == Mode::async ? "async" : "local_sgd")));
  };
  if (takes_whole_tensors(job.train.optimizer))
    refuse(job.train.optimizer_at, fmt::format("optimizer {}", optimizer_name(job.train.optimizer)));
  if (job.mode == Mode::local_sgd && job.local_sgd.outer_optimizer) {
    const OptimizerSpec& outer = *job.local_sgd.outer_optimizer;
    if (takes_whole_tensors(outer))
      refuse(job.local_sgd.at, fmt::format("local_sgd.outer_optimizer: {}", optimizer_name(outer)));
    // Both steps go over the buffer in the same ranges.
    if (weight_decay(outer) != 0 && decay_on(outer) != decay_on(job.train.optimizer))
      throw Error(ExitStatus::usage, complaint(job.local_sgd.at,
                                               "local_sgd.outer_optimizer: its weight_decay_on has to be "
                                               "that of train.optimizer"));
  }
  if (job.train.ema) refuse(job.train.ema_at, "train.ema");
}

}  // namespace dptrain
