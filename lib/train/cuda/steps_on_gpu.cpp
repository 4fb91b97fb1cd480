// What a step puts in line for the GPU: whole micro-batches one after the other, or pieces of them.
#include <algorithm>

#include "kernels/cuda/linger.h"
#include "train/cuda/cuda_replica.h"

namespace dptrain {

namespace {

using Kind = ReplicaProgram::Instruction::Kind;

}  // namespace

double CudaReplica::compute(const StepTask& task, Slot& slot) {
  const std::int64_t step = task.step;
  const StepPlan& plan = this->plan(step);
  std::vector<Recording>& recordings = slot.recordings[&plan == &slot.assignment->last() ? 1 : 0];
  const cudaStream_t stream = compute_.get();
  // Not on the copy stream: a reducer's kernels behind the step that had the slot before may still read its constants.
  copy_async(slot.header.data(), slot.host_header.data(), slot.header.size(), cudaMemcpyHostToDevice, stream);
  if (loader_) batch_copied_.make_wait(stream);
  double waited = 0;
  for (std::size_t piece = 0; piece < recordings.size(); ++piece) {
    const int number = static_cast<int>(piece);
    if (slot.clock) slot.clock->begin(piece, stream);
    if (task.slow > 1) cuda::stamp(as<std::uint64_t>(began_), stream);
    recordings[piece].run(stream, [&] { lockstep_ ? enqueue_piece(number, step, slot) : enqueue_whole(step, slot); });
    if (task.slow > 1) cuda::linger(as<std::uint64_t>(began_), task.slow, stream);
    if (slot.clock) slot.clock->end(piece, stream);
    if (piece + 1 < recordings.size()) waited += lockstep_->meet(number, plan, wait_);
  }
  if (watch_) watch(task);
  slot.computed.record(stream);
  return waited;
}

/// How large the gradients are, with what a drill does to them.
void CudaReplica::watch(const StepTask& task) {
  const std::size_t sums = program(task.step).roots.size();
  if (task.poison && sums > 0) {
    cuda::check(cudaMemsetAsync(gradient_views_.front(), 0xff, sizeof(float), compute_.get()),  // one that is no number
                "a gradient could not be spoilt");
  }
  watch_->enqueue(gradient_views_, sums, parameters().floats(), compute_.get());
}

/// The samples of a micro-batch, where the dataset lies on the GPU; with labels it says where they go.
void CudaReplica::gather(const Model::Input& input) {
  if (!resident_.train) return;
  cuda::gather_images(resident_.train->images(), input.ids, 0, input.batch, const_cast<float*>(input.x),
                      const_cast<std::int32_t*>(input.labels), compute_.get());
}

void CudaReplica::add_floats(const ReplicaProgram::Instruction& addition, std::int64_t first, std::int64_t count) {
  const auto target = static_cast<std::size_t>(addition.buffer);
  cuda::add(gradient_views_[target] + first, gradient_views_[target + 1] + first, count, compute_.get());
}

/// The step's kernels. What is recorded here is replayed for other steps: nothing may depend on `step` but its plan and
/// the assignment.
void CudaReplica::enqueue_whole(std::int64_t step, Slot& slot) {
  const std::int64_t floats = parameters().floats();
  const std::int64_t version = versions_.next();
  const auto& instructions = program(step).instructions;
  // What is added behind the last micro-batch is added mark by mark, while its backward pass goes on.
  const auto behind_runs = std::find_if(instructions.rbegin(), instructions.rend(), [](const auto& instruction) {
                             return instruction.kind == Kind::run;
                           }).base();
  const auto runs_left = [&](const auto& instruction) {
    return behind_runs - instructions.begin() - (&instruction - instructions.data());
  };
  auto mark = marks_.begin();
  std::int64_t added = 0;
  const auto finished = [&](std::int64_t done) {
    for (; mark != marks_.end() && mark->floats <= done; ++mark) {
      for (auto addition = behind_runs; addition != instructions.end(); ++addition)
        add_floats(*addition, added, mark->floats - added);
      added = mark->floats;
      mark->event->record_outside(compute_.get());
    }
  };
  each_instruction(
      step, slot,
      [&](const auto& instruction, const Model::Input& input, LossSum* loss) {
        gather(input);
        const bool is_last = runs_left(instruction) == 1;
        model_->train(config_.job.seed, {step, &slot.constants()->step, version}, input,
                      {.gradients = gradient_views_[static_cast<std::size_t>(instruction.buffer)],
                       .loss = loss,
                       .finished = is_last && !marks_.empty() ? std::function<void(std::int64_t)>(finished) : nullptr});
      },
      [&](const auto& instruction) {
        if (marks_.empty() || runs_left(instruction) > 0) add_floats(instruction, 0, floats);
      });
  finished(floats);
  if (finish_) finish_(plan(step), slot.constants());
}

/// The same for one piece of all micro-batches.
void CudaReplica::enqueue_piece(int piece, std::int64_t step, Slot& slot) {
  const Model::Step of_step{step, &slot.constants()->step, versions_.next()};
  const std::int64_t first = piece == 0 ? 0 : lockstep_->final_floats(piece - 1), last = lockstep_->final_floats(piece);
  lockstep_->begin(piece);
  int k = 0;
  each_instruction(
      step, slot,
      [&](const auto& instruction, const Model::Input& input, LossSum* loss) {
        if (piece == 0) gather(input);
        float* gradients = gradient_views_[static_cast<std::size_t>(instruction.buffer)];
        lockstep_->enqueue(piece, k++, of_step, {input, {.gradients = gradients, .loss = loss}});
      },
      [&](const auto& instruction) { add_floats(instruction, first, last - first); });
  lockstep_->end(piece);
  if (piece + 1 < lockstep_->pieces()) return;
  for (const Mark& mark : marks_) mark.event->record_outside(compute_.get());
  if (finish_) finish_(plan(step), slot.constants());
}

}  // namespace dptrain
