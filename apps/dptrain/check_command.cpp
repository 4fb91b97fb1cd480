#include "dptrain/check_command.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <ostream>

#include "core/error.h"
#include "dptrain/job_data.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "report/lines.h"
#include "spec/names.h"
#include "spec/shapes.h"
#include "train/async/async_run.h"
#include "train/async/version_rates.h"
#include "train/backend.h"
#include "train/faults/faults.h"
#include "train/fit/fit.h"
#include "train/fit/warnings.h"
#include "train/local_sgd/local_sgd.h"
#include "train/local_sgd/slices.h"
#include "train/loss_scaling.h"
#include "train/memory.h"
#include "train/replica.h"
#include "train/update_strategy.h"

namespace dptrain {

namespace {

std::string megabytes(std::int64_t bytes) {
  if (bytes < 100'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3);
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
    return fmt::format("on GPUs, in {}", names::precision.name_of(job.train.precision));
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

/// What the parts below read.
struct Plan {
  const JobSpec& job;
  const Placement& placement;
  const RunSchedule& schedule;
  const ModelPlan& model;
  std::int64_t sample_floats;
  int workers;  ///< that load ahead of each replica
  std::optional<LockstepMemory> lockstep{};
};

std::int64_t most_micro_batches(const RunSchedule& schedule) {
  return static_cast<std::int64_t>(
      std::max(schedule.full().micro_batches.size(), schedule.last().micro_batches.size()));
}

/// Of what operations read in another type or layout; empty where there is nothing of the kind.
std::string copies_text(std::int64_t bytes) {
  return bytes == 0 ? "" : fmt::format("{} copies of weights and tensors, ", megabytes(bytes));
}

void print_replica_memory(const ReplicaMemory& memory, std::ostream& out) {
  const std::string lockstep = memory.alive > 1 ? fmt::format(" of {} micro-batches in lockstep", memory.alive) : "";
  fmt::print(out, "                {} a replica: {} gradients ({} buffer{}), {} activations{}, {}{} batches {}ahead\n",
             megabytes(memory.bytes()), megabytes(memory.gradients), memory.buffers, memory.buffers == 1 ? "" : "s",
             megabytes(memory.activations), lockstep, copies_text(memory.copies), megabytes(memory.batches),
             memory.alive > 0 ? "in work and " : "");
}

void print_cut(const Plan& plan, const std::string& promise, std::ostream& out) {
  const StepPlan &full = plan.schedule.full(), &last = plan.schedule.last();
  const auto cut = [](const StepPlan& step) {
    return cut_text(step.samples, static_cast<std::int64_t>(step.micro_batches.size()));
  };
  fmt::print(out, "a step          {}{}\n", cut(full), promise);
  if (last.samples != full.samples) fmt::print(out, "  last step     {}\n", cut(last));
}

void print_sync(const Plan& plan, std::ostream& out) {
  const int replicas = plan.placement.replicas;
  const StepPlan& full = plan.schedule.full();
  print_cut(plan,
            plan.job.reproducible ? fmt::format(", same bits at 1 to {} replicas", full.micro_batches.size()) : "",
            out);

  std::int64_t exchanged = 0;
  std::string shares;
  for (const ReplicaProgram& program : full.programs) {
    exchanged += static_cast<std::int64_t>(program.roots.size());
    shares += fmt::format("{}{}", shares.empty() ? "" : " + ", micro_batches_of(program));
  }
  fmt::print(out, "replicas        {} {}; micro-batches a step: {}\n", replicas, where_text(plan.job, plan.placement),
             shares);
  print_gpus(plan.placement, out);

  const std::int64_t flat = plan.model.parameters.floats() * static_cast<std::int64_t>(sizeof(float));
  if (replicas > 1) {
    const bool halves = plan.job.train.communication == Communication::bf16;
    fmt::print(out, "reduced a step  {} in {} gradient sum{}{}{}\n", megabytes(exchanged * flat / (halves ? 2 : 1)),
               exchanged, exchanged == 1 ? "" : "s", halves ? ", which travel in bf16" : "",
               exchanged > replicas ? "; with a power of two of replicas and micro-batches it would be one each" : "");
  }
  const SyncMemory memory =
      sync_memory(plan.job, plan.schedule, plan.model, plan.sample_floats, plan.workers, plan.lockstep);
  fmt::print(out, "memory          {} weights and optimizer state, shared\n", megabytes(memory.shared));
  if (memory.copies > 0)
    fmt::print(out, "                {} copies to go back to, at most\n", megabytes(memory.copies));
  print_replica_memory(memory.replica, out);
  if (plan.placement.type != DeviceType::cuda) return;
  const GpuMemory gpu = gpu_memory(plan.job, plan.schedule, plan.model, plan.sample_floats, plan.placement);
  fmt::print(
      out, "                {} of two steps' samples on its GPU{}\n", megabytes(gpu.samples),
      gpu.received == 0 ? "" : fmt::format(", and {} of gradient sums from the others", megabytes(gpu.received)));
}

/// Local SGD: who runs which workers, and what these take.
void print_workers(const Plan& plan, std::ostream& out) {
  const LocalSgdSpec& local = plan.job.local_sgd;
  const PartName worker{"worker", "workers"};
  const StepPlan &full = plan.schedule.full(), &last = plan.schedule.last();
  fmt::print(out, "a step          {}, in {} micro-batches{}\n", cut_text(full.samples, local.workers, worker),
             full.micro_batches.size(),
             plan.job.reproducible ? fmt::format(", same bits at 1 to {} replicas", local.workers) : "");
  if (last.samples != full.samples)
    fmt::print(out, "  last step     {}\n", cut_text(last.samples, local.workers, worker));
  if (local.warmup_sync_steps > 0)
    fmt::print(out, "  warm-up       the first {} steps are synchronous\n", grouped(local.warmup_sync_steps));
  const int workers = static_cast<int>(local.workers);
  std::string shares;
  for (int rank = 0; rank < plan.placement.replicas; ++rank)
    shares += fmt::format("{}{}", rank == 0 ? "" : " + ", share(workers, plan.placement.replicas, rank).count());
  fmt::print(out, "replicas        {} {}; workers: {}\n", plan.placement.replicas, where_text(plan.job, plan.placement),
             shares);
  const std::int64_t flat = plan.model.parameters.floats() * static_cast<std::int64_t>(sizeof(float));
  const int state = state_buffers(plan.job.train.optimizer);
  const int outer = local.outer_optimizer ? state_buffers(*local.outer_optimizer) : 0;
  const bool with_state = local.worker_state == WorkerState::average;
  fmt::print(out, "averaged        every {} steps: {} of weights{}\n", grouped(local.sync_every),
             megabytes(workers * (with_state ? 1 + state : 1) * flat), with_state && state > 0 ? " and state" : "");
  fmt::print(out, "memory          {}: {} workers' weights and optimizer state, the average{}\n",
             megabytes((workers * (1 + state) + 1 + outer) * flat), workers, outer > 0 ? " and its optimizer's" : "");
  if (local.warmup_sync_steps > 0)
    fmt::print(out, "                {} weights and optimizer state of the warm-up\n", megabytes((1 + state) * flat));
  int most = 0;
  for (const Slice& slice :
       slice_step(full.samples, workers, micro_batch_size(plan.job, plan.placement.replicas)).slices)
    most = std::max(most, slice.micro_batches.count());
  std::int64_t buffers = replica_program(most, {0, most}).buffers, warm = 0;
  for (const ReplicaProgram& program : full.programs) warm = std::max<std::int64_t>(warm, program.buffers);
  if (local.warmup_sync_steps > 0) buffers += warm;
  print_replica_memory(replica_memory(plan.model, buffers,
                                      loader_batches(plan.job, plan.workers) * (local.warmup_sync_steps > 0 ? 2 : 1),
                                      plan.schedule, plan.sample_floats),
                       out);
  const std::int64_t a_step = static_cast<std::int64_t>(sizeof(ToldStep)) +
                              most_micro_batches(plan.schedule) * static_cast<std::int64_t>(sizeof(LossSum)) +
                              plan.placement.replicas * static_cast<std::int64_t>(sizeof(StepTimes));
  fmt::print(out, "                {} of losses and times of a round, which are told after it\n",
             megabytes(std::min(local.sync_every, plan.schedule.steps()) * a_step));
  if (plan.placement.type == DeviceType::cuda)
    fmt::print(out, "                {} of weights and a gradient on each GPU, for each of its replicas\n",
               megabytes(2 * flat));
}

/// How mode async goes about it, and the memory that it takes.
void print_async(const Plan& plan, std::ostream& out) {
  const JobSpec& job = plan.job;
  const RunSchedule& schedule = plan.schedule;
  print_cut(plan, "", out);
  print_gpus(plan.placement, out);
  const auto replicas = static_cast<std::int64_t>(schedule.full().programs.size());
  const std::int64_t per_version = gradients_per_version(job.async, schedule);
  const MicroBatchPlaces places(schedule);
  const std::int64_t versions = planned_versions(places, rests_of(job, schedule), per_version, schedule.steps());
  fmt::print(out, "versions        {} of {} gradient{} each\n", grouped(versions), per_version,
             per_version == 1 ? "" : "s");
  fmt::print(out, "staleness       {}\n",
             job.async.max_staleness ? fmt::format("at most {}", *job.async.max_staleness) : "without a bound");
  const bool gpus = plan.placement.type == DeviceType::cuda;
  fmt::print(out, "replicas        {} {}, each with its own micro-batches as it is free\n", replicas,
             gpus ? where_text(job, plan.placement) : "on the CPU");
  const std::int64_t flat = plan.model.parameters.floats() * static_cast<std::int64_t>(sizeof(float));
  const int state = state_buffers(job.train.optimizer);
  const std::int64_t buffers =
      gradient_buffers(rules_of(job.async, per_version), job.faults.on_nan == OnNan::skip, replicas);
  fmt::print(out, "memory          {} weights and optimizer state, {} gradients ({} buffers), shared\n",
             megabytes((1 + state) * flat), megabytes(buffers * flat), buffers);
  const std::int64_t ahead = plan.workers == 0 ? 0 : std::max<std::int64_t>(job.data.prefetch, plan.workers);
  const std::int64_t batches = (1 + ahead) * schedule.largest_batch() * plan.sample_floats * 4;
  fmt::print(out, "                {} a replica: {} weights, {} activations, {}{} for its batch and those ahead\n",
             megabytes(flat + plan.model.activation_bytes + plan.model.copy_bytes + batches), megabytes(flat),
             megabytes(plan.model.activation_bytes), copies_text(plan.model.copy_bytes), megabytes(batches));
  // Where one replica is so late that all others are at the next rest.
  const std::int64_t a_step = static_cast<std::int64_t>(sizeof(StepCollector::Step)) +
                              most_micro_batches(schedule) * static_cast<std::int64_t>(sizeof(LossSum));
  fmt::print(out, "                {} of losses at most, of steps that wait for a late replica to be told\n",
             megabytes(rests_of(job, schedule).after(0) * a_step));
  if (gpus)
    fmt::print(out, "                {} of weights and a gradient on each GPU, for each of its replicas\n",
               megabytes(2 * flat));
}

}  // namespace

int check_job(const JobOptions& options, std::ostream& out) {
  const JobSpec job = read_job(options.file, options.overrides);
  const DatasetInfo data = inspect_data(job);
  check_data_fit(job, data.shape, data.classes);
  const Placement placement = place(job, data.train_samples);
  const int replicas = placement.replicas;
  const RunSchedule schedule(job, data.train_samples, replicas);
  make_strategy(job)->check(job, placement, schedule);
  check_batches_fit(job, schedule);

  // A replica's model, with the memory it takes, but no thread and no data.
  const std::unique_ptr<Backend> backend = make_backend(job, placement);
  const ModelPlan model = backend->plan(batch_sizes(schedule, data.test_samples));
  const ParameterTable& table = model.parameters;

  fmt::print(out, "{}: valid\n", options.file);
  print_layers(job, table, out);

  fmt::print(out, "data            {}, {} to train, {} to test, {}\n", data.name, grouped(data.train_samples),
             grouped(data.test_samples), data.shape.text());
  fmt::print(out, "steps           {} ({} an epoch)\n", grouped(schedule.steps()), grouped(schedule.steps_per_epoch()));
  if (job.train.lr_scaling) {
    const std::int64_t samples = samples_of_update(job, schedule);
    const double scale = lr_scale(job.train, samples);
    fmt::print(out, "learning rate   {:g}, {:g} times the optimizer's: {} samples an update, {} in the reference\n",
               base_lr(job.train.optimizer) * scale, scale, samples, job.train.lr_scaling->reference_batch_size);
  }
  if (const std::string types = precision_line(names::precision.name_of(job.train.precision)); !types.empty())
    fmt::print(out, "precision       {}\n", types);
  if (const std::optional<LossScaling> scaling = loss_scaling(job, nullptr))
    fmt::print(out,
               "loss scale      {:g} at first, doubled after {} good steps, halved where gradients are not finite; "
               "at least {:g}\n",
               scaling->start.scale, grouped(scaling->rule.growth_interval), scaling->rule.least);
  const std::int64_t sample_floats = data.shape.elements();
  const int workers =
      loader_workers(job, replicas, schedule.largest_batch() * sample_floats, is_costly_to_load(job.dataset));
  const Plan plan{job, placement, schedule, model, sample_floats, workers, lockstep_memory(job, *backend, schedule)};
  switch (job.mode) {
    case Mode::sync:
      print_sync(plan, out);
      break;
    case Mode::async:
      print_async(plan, out);
      break;
    case Mode::local_sgd:
      print_workers(plan, out);
      break;
  }
  for (const std::string& warning : warnings(job, schedule, placement)) fmt::print(out, "warning: {}\n", warning);
  return static_cast<int>(ExitStatus::ok);
}

const CLI::App* add_check(CLI::App& app, JobOptions& options) {
  CLI::App* added = app.add_subcommand("check", "validate a job and print its plan; trains nothing");
  add_job_options(*added, options);
  added->get_option("JOB")->required();
  return added;
}

}  // namespace dptrain
