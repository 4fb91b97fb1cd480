#include "dptrain/check_command.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <ostream>

#include "core/error.h"
#include "data/open.h"
#include "optim/optimizer.h"
#include "report/lines.h"
#include "spec/shapes.h"
#include "train/backend.h"
#include "train/doubts.h"
#include "train/faults.h"
#include "train/fit.h"
#include "train/replica.h"

namespace dptrain {

namespace {

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

/// One line a layer; a container's stands before those of the layers in it.
void print_layers(const JobSpec& job, const ParameterTable& table, std::ostream& out) {
  const std::vector<LayerShape> layers = layer_shapes(job.model);
  std::vector<std::int64_t> parameters(layers.size());
  for (const Parameter& p : table.all())
    parameters[p.layer] += p.desc.role == ParameterRole::statistic ? 0 : p.desc.shape.elements();
  std::size_t widest = 3;
  for (const LayerShape& layer : layers) widest = std::max(widest, layer.name.size());
  const auto line = [&](const std::string& name, const std::string& kind, const std::string& output,
                        const std::string& count) {
    fmt::print(out, "  {:>{}}  {:<15} {:>14} {:>14}\n", name, widest, kind, output, count);
  };
  fmt::print(out, "\n");
  line("", "layer", "output", "parameters");
  line("", "input", job.model.input.text(), "");
  for (std::size_t i = 0; i < layers.size(); ++i)
    line(layers[i].name, layers[i].kind, layers[i].output.text(), parameters[i] > 0 ? grouped(parameters[i]) : "");
  line("", "total", "", grouped(table.elements()) + "\n");
}

std::string where_text(const JobSpec& job, const Placement& placement) {
  if (placement.type == DeviceType::cuda) {
    return fmt::format("on GPUs, in {}", job.train.precision == Precision::tf32 ? "tf32" : "fp32");
  }
  const std::int64_t threads = job.devices.threads_per_replica;
  return fmt::format("on the CPU, {} thread{} each", threads, threads == 1 ? "" : "s");
}

/// One line a GPU: its name, its memory, and the replicas that are on it.
void print_gpus(const Placement& placement, std::ostream& out) {
  const std::vector<AcceleratorInfo>& gpus = placement.gpus;
  for (std::size_t i = 0; i < gpus.size() && (i == 0 || gpus[i].device != gpus[0].device); ++i) {
    const auto here = std::count_if(gpus.begin(), gpus.end(),
                                    [&](const AcceleratorInfo& gpu) { return gpu.device == gpus[i].device; });
    fmt::print(out, "  GPU {:<10}{}, {:.1f} GB, compute capability {}.{}{}\n", gpus[i].device, gpus[i].name,
               static_cast<double>(gpus[i].memory_bytes) / 1e9, gpus[i].compute_major, gpus[i].compute_minor,
               here == 1 ? "" : fmt::format(", shared by {} replicas", here));
  }
}

}  // namespace

int check_job(const JobOptions& options, std::ostream& out) {
  const JobSpec job = read_job(options.file, options.overrides);
  const DatasetInfo data = inspect_dataset(job.dataset);
  check_data_fit(job, data.shape, data.classes);
  const Placement placement = place(job, data.train_samples);
  check_faults_fit(job, placement);
  const int replicas = placement.replicas;
  const RunSchedule schedule(job, data.train_samples, replicas);
  check_batches_fit(job, schedule);

  // A replica's model, with the memory it takes, but no thread and no data.
  std::vector<std::int64_t> batches = schedule.batch_sizes();
  const std::int64_t largest = schedule.largest_batch();
  const std::int64_t chunk = evaluation_chunk(schedule, data.test_samples);
  if (std::find(batches.begin(), batches.end(), chunk) == batches.end()) batches.push_back(chunk);
  const ModelPlan model = make_backend(job, placement)->plan(batches);
  const ParameterTable& table = model.parameters;

  fmt::print(out, "{}: valid\n", options.file);
  print_layers(job, table, out);

  const StepPlan& full = schedule.full();
  fmt::print(out, "data            {}, {} to train, {} to test, {}\n", data.name, grouped(data.train_samples),
             grouped(data.test_samples), data.shape.text());
  const auto cut = [](const StepPlan& plan) {
    return cut_text(plan.samples, static_cast<std::int64_t>(plan.micro_batches.size()));
  };
  fmt::print(out, "steps           {} ({} an epoch)\n", grouped(schedule.steps()), grouped(schedule.steps_per_epoch()));
  fmt::print(out, "a step          {}{}\n", cut(full),
             job.reproducible ? fmt::format(", same bits at 1 to {} replicas", full.micro_batches.size()) : "");
  if (schedule.last().samples != full.samples) fmt::print(out, "  last step     {}\n", cut(schedule.last()));

  std::int64_t exchanged = 0, buffers = 0;
  std::string shares;
  for (const ReplicaProgram& program : full.programs) {
    exchanged += static_cast<std::int64_t>(program.roots.size());
    buffers = std::max<std::int64_t>(buffers, program.buffers);
    const auto runs = std::count_if(
        program.instructions.begin(), program.instructions.end(),
        [](const auto& instruction) { return instruction.kind == ReplicaProgram::Instruction::Kind::run; });
    shares += fmt::format("{}{}", shares.empty() ? "" : " + ", runs);
  }
  if (may_reassign(job, replicas)) {  // any range of micro-batches may become anyone's
    for (const StepPlan* plan : {&full, &schedule.last()})
      buffers = std::max<std::int64_t>(buffers, buffers_for_any_range(static_cast<int>(plan->micro_batches.size())));
  }
  fmt::print(out, "replicas        {} {}; micro-batches a step: {}\n", replicas, where_text(job, placement), shares);
  print_gpus(placement, out);

  const std::int64_t flat = table.floats() * static_cast<std::int64_t>(sizeof(float));
  if (replicas > 1) {
    fmt::print(out, "reduced a step  {} in {} gradient sum{}{}\n", megabytes(exchanged * flat), exchanged,
               exchanged == 1 ? "" : "s",
               exchanged > replicas ? "; with a power of two of replicas and micro-batches it would be one each" : "");
  }
  const int state = make_optimizer(job.train.optimizer)->state_buffers();
  fmt::print(out, "memory          {} weights and optimizer state, shared\n", megabytes((1 + state) * flat));
  fmt::print(
      out, "                {} a replica: {} gradients ({} buffer{}), {} activations, {} batches ahead\n",
      megabytes(buffers * flat + model.activation_bytes + job.data.prefetch * largest * data.shape.elements() * 4),
      megabytes(buffers * flat), buffers, buffers == 1 ? "" : "s", megabytes(model.activation_bytes),
      megabytes(job.data.prefetch * largest * data.shape.elements() * 4));
  for (const std::string& doubt : doubts(job, schedule)) fmt::print(out, "warning: {}\n", doubt);
  return static_cast<int>(ExitStatus::ok);
}

}  // namespace dptrain
