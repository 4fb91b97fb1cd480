#include "train/cpu/lockstep.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/clock.h"
#include "core/error.h"
#include "core/magnitude.h"

namespace dptrain {

Lockstep::Lockstep(const Replica::Config& config, Kernels& kernels, Model& model, int most)
    : config_(config),
      exchange_(*config.exchange),
      lanes_(static_cast<std::size_t>(most)),
      merge_(*config.exchange, config.rank, model.measured_floats(), config.schedule.full().micro_batches.size()),
      whole_(static_cast<std::size_t>(model.measured_floats())) {
  const std::vector<std::int64_t> batches = config.schedule.batch_sizes();
  const std::int64_t largest = config.schedule.largest_batch();
  for (Lane& lane : lanes_) {
    if (&lane == lanes_.data()) {
      lane.model = &model;
    } else {
      lane.owned =
          std::make_unique<Model>(config.job.model, kernels, batches.front(), compute_type(config.job.train.precision));
      lane.model = lane.owned.get();
      lane.model->prepare(batches);
    }
    lane.ids.resize(static_cast<std::size_t>(largest));
    lane.labels.resize(lane.ids.size());
    lane.samples = Buffer::host_floats(largest * config.data.train->shape().elements());
  }
}

void Lockstep::bind(const float* weights) {
  for (const Lane& lane : lanes_) lane.model->bind(weights);
}

void Lockstep::take(int k, const Batch& batch) {
  Lane& lane = lanes_[static_cast<std::size_t>(k)];
  lane.count = static_cast<std::int64_t>(batch.ids.size());
  std::copy(batch.ids.begin(), batch.ids.end(), lane.ids.begin());
  std::copy_n(batch.labels, lane.count, lane.labels.begin());
  std::copy_n(batch.samples, lane.count * config_.data.train->shape().elements(), lane.samples.floats());
}

template <class Target, class Trained, class Added, class Met>
void Lockstep::pass(const StepTask& task, const StepPlan& plan, const Target& target, const Trained& trained,
                    const Added& added, const Met& met) {
  const Model& model = *lanes_.front().model;
  const Model::Step step{task.step, &task.step, task.weights};
  const ReplicaProgram& program = plan.programs[static_cast<std::size_t>(config_.rank)];
  const int micro_batches = static_cast<int>(plan.micro_batches.size());
  Finished finished{0, 0};
  // The last piece measures nothing, and nobody meets behind it.
  const auto measured = [&](int piece, int m) {
    return piece + 1 == model.pieces() ? nullptr : exchange_.own(config_.rank, m);
  };
  for (int piece = 0; piece < model.pieces(); ++piece) {
    finished = {finished.last, model.final_floats(piece)};
    int k = 0;
    for (const Instruction& instruction : program.instructions) {
      if (instruction.kind == Instruction::Kind::add) {
        added(instruction, finished);
        continue;
      }
      Lane& lane = lanes_[static_cast<std::size_t>(k)];
      float* gradient = target(instruction);
      lane.model->train_piece(
          piece, config_.job.seed, step, {lane.count, lane.ids.data(), lane.samples.floats(), lane.labels.data()},
          {.gradients = gradient, .loss = &lane.loss}, whole_.data(), measured(piece, instruction.micro_batch));
      if (task.poison && k == 0 && finished.first == 0 && finished.last > 0)
        gradient[0] = std::numeric_limits<float>::quiet_NaN();
      trained(piece, k++, instruction, finished);
    }
    if (piece + 1 == model.pieces()) return;
    met(piece);
    merge_.merge(model, piece, micro_batches, whole_.data());
  }
}

void Lockstep::run(const StepTask& task, const StepPlan& plan, const std::vector<float*>& gradients,
                   std::vector<LossSum>& losses, Replica::Times& times) {
  const double start = steady_seconds();
  const double reduced = times.reduce, waited = times.wait;
  const auto buffer = [&](int number) { return gradients[static_cast<std::size_t>(number)]; };
  pass(
      task, plan, [&](const Instruction& instruction) { return buffer(instruction.buffer); },
      [&](int, int k, const Instruction& instruction, const Finished&) {
        losses[static_cast<std::size_t>(instruction.micro_batch)] = lanes_[static_cast<std::size_t>(k)].loss;
      },
      [&](const Instruction& instruction, const Finished& finished) {
        const double begun = steady_seconds();
        float* sum = buffer(instruction.buffer);
        const float* other = buffer(instruction.buffer + 1);
        for (std::int64_t i = finished.first; i < finished.last; ++i) sum[i] += other[i];
        times.reduce += steady_seconds() - begun;
      },
      [&](int) { times.wait += exchange_.meet(config_.rank); });
  times.compute += steady_seconds() - start - (times.reduce - reduced) - (times.wait - waited);
}

std::optional<NotFinite> Lockstep::diagnose(const StepTask& task, const StepPlan& plan, float* gradient) {
  struct Found {
    int piece = std::numeric_limits<int>::max();
    NotFinite what;
  };
  std::vector<Found> found(lanes_.size());
  Found foreign;  // the first measurement that spoils those of all
  const auto is_finite = [&](const float* values, std::int64_t count) {
    return std::isfinite(largest_magnitude(values, count));
  };
  pass(
      task, plan, [&](const Instruction&) { return gradient; },
      [&](int piece, int k, const Instruction& instruction, const Finished& finished) {
        Found& here = found[static_cast<std::size_t>(k)];
        here.what.micro_batch = instruction.micro_batch;
        if (finished.last > 0 && finished.first == 0 && !std::isfinite(lanes_[static_cast<std::size_t>(k)].loss.loss)) {
          here.piece = std::min(here.piece, piece);
          here.what.loss = true;
        }
        for (const Parameter& parameter : lanes_.front().model->parameters().all()) {
          if (!here.what.parameter.empty()) break;
          if (parameter.offset < finished.first || parameter.offset >= finished.last) continue;
          if (is_finite(gradient + parameter.offset, parameter.desc.stored_floats)) continue;
          here.piece = std::min(here.piece, piece);
          here.what.parameter = parameter.name;
        }
      },
      [](const Instruction&, const Finished&) {},
      [&](int piece) {
        exchange_.meet(config_.rank);
        for (int m = 0; m < static_cast<int>(plan.micro_batches.size()) && piece < foreign.piece; ++m) {
          if (!is_finite(exchange_.of(config_.rank, m), lanes_.front().model->measured_floats(piece)))
            foreign = {piece, {.micro_batch = m, .loss = false, .parameter = {}}};
        }
      });
  const Found* first = nullptr;
  for (const Found& here : found) {
    if (here.piece == std::numeric_limits<int>::max()) continue;
    const bool own = here.piece <= foreign.piece || here.what.micro_batch == foreign.what.micro_batch;
    if (own && (first == nullptr || here.piece < first->piece)) first = &here;
  }
  return first == nullptr ? std::nullopt : std::optional(first->what);
}

}  // namespace dptrain
