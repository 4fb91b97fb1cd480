#include "report/lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/process.h"
#include "report/json.h"

namespace dptrain {

namespace {

struct Share {
  double value;
  const char* name;
  const char* advice;
};

/// Largest first; equal ones stay in the order of the struct's members.
std::array<Share, 4> sorted(const TimeShares& shares) {
  std::array<Share, 4> parts{{
      {shares.data, "data",
       "waiting for samples; try data.workers 1 and a larger data.prefetch, or the other way round data.workers 0"},
      {shares.compute, "compute", "forward and backward, as it should be"},
      {shares.reduce, "reduce",
       "adding gradients and updating weights; try a larger micro_batch_size, a larger global_batch_size or fewer "
       "replicas"},
      {shares.wait, "wait",
       "replicas waiting for each other; try a replica for each free core, and equal micro-batches for each"},
  }};
  std::stable_sort(parts.begin(), parts.end(), [](const Share& a, const Share& b) { return a.value > b.value; });
  return parts;
}

bool measured(const TimeShares& shares) {
  return shares.data + shares.compute + shares.reduce + shares.wait > 0;
}

std::string plural(std::int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", grouped(count), count == 1 ? one : many);
}

/// Four decimals where they tell something, otherwise an exponent.
std::string loss_text(double loss) {
  const bool tiny = loss != 0 && std::abs(loss) < 0.001;
  return std::isfinite(loss) && (tiny || std::abs(loss) >= 1e6) ? fmt::format("{:.3e}", loss)
                                                                : fmt::format("{:.4f}", loss);
}

std::string rate(double samples_per_second) {
  return fmt::format("{} samples/s", grouped(std::llround(std::isfinite(samples_per_second) ? samples_per_second : 0)));
}

std::string number(double value) {
  return fmt::format("{:.6g}", value);
}

const char* status_text(RunStatus status) {
  switch (status) {
    case RunStatus::done:
      return "done";
    case RunStatus::expect_not_met:
      return "ended below what is expected";
    case RunStatus::stopped:
      return "stopped";
    case RunStatus::failed:
      return "failed";
  }
  return "ended";
}

/// "256 = 4 micro-batches x 64, same bits at 1 to 4 replicas", or "256 = 4 workers x 64, averaged every 8 steps, ...".
std::string cut_line(const RunPlan& plan) {
  std::string cut = cut_text(plan.step_samples, plan.micro_batches);
  std::int64_t parts = plan.micro_batches;
  if (plan.workers > 0) {
    parts = plan.workers;
    cut = fmt::format("{}, averaged every {}", cut_text(plan.step_samples, parts, {"worker", "workers"}),
                      plan.sync_every == 1 ? "step" : fmt::format("{} steps", grouped(plan.sync_every)));
  }
  if (!plan.reproducible) return cut + ", not reproducible: bits may differ from run to run";
  if (plan.mode != "sync" && plan.workers == 0)
    return cut + fmt::format(", mode {}: bits may differ from run to run", plan.mode);
  return cut + (parts == 1 ? ", same bits in every run" : fmt::format(", same bits at 1 to {} replicas", parts));
}

}  // namespace

std::string accuracy_text(double accuracy) {
  return std::isnan(accuracy) ? "-" : fmt::format("{:.2f}%", std::floor(1e4 * accuracy + 1e-6) / 100);
}

std::string grouped(std::int64_t number) {
  std::string digits = fmt::format("{}", number);
  const std::size_t first = number < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string cut_text(std::int64_t samples, std::int64_t parts, const PartName& name) {
  const std::int64_t smaller = samples / parts, larger_ones = samples % parts;
  const std::string cut = fmt::format("{} = {}", grouped(samples), plural(parts, name.one, name.many));
  if (larger_ones == 0) return cut + fmt::format(" x {}", smaller);
  return cut + fmt::format(": {} x {} + {} x {}", larger_ones, smaller + 1, parts - larger_ones, smaller);
}

std::string shares_line(const TimeShares& shares) {
  if (!measured(shares)) return {};
  std::string line = "where the time went:";
  const char* separator = " ";
  for (const Share& part : sorted(shares)) {
    line += fmt::format("{}{} {:.0f}%", separator, part.name, 100 * part.value);
    separator = ", ";
  }
  return line;
}

std::string largest_share_line(const TimeShares& shares) {
  if (!measured(shares)) return {};
  const Share largest = sorted(shares).front();
  return fmt::format("the largest part is {}: {}", largest.name, largest.advice);
}

std::string precision_line(std::string_view precision) {
  if (precision == "bf16" || precision == "fp16")
    return fmt::format(
        "{}: convolutions, products, activations and their gradients; fp32: weights and their gradients, sums, "
        "statistics, loss, optimizer",
        precision);
  if (precision == "tf32") return "tf32: convolutions and products; fp32: all that is stored, and the rest";
  return {};
}

std::vector<std::string> header_lines(const RunPlan& plan) {
  std::vector<std::string> lines{
      fmt::format("dptrain {}  {}  seed {}", version(), plan.job_file.string(), plan.seed),
      fmt::format("{}  {} train / {} test samples, {}, {}  (from {})", plan.dataset, grouped(plan.train_samples),
                  grouped(plan.test_samples), plan.sample_shape.text(), plural(plan.classes, "class", "classes"),
                  plan.dataset_location),
      fmt::format("{}, {} on the {}{}", plural(plan.parameters, "parameter", "parameters"),
                  plural(plan.replicas, "replica", "replicas"), plan.device_type == "cpu" ? "CPU" : "GPUs",
                  plan.threads_per_replica == 1 ? "" : fmt::format(", {} threads each", plan.threads_per_replica)),
      cut_line(plan),
  };
  if (std::string types = precision_line(plan.precision); !types.empty()) lines.push_back(std::move(types));
  if (plan.communication != "fp32")
    lines.push_back(fmt::format("{}: gradients on their way between GPUs", plan.communication));
  return lines;
}

StepParts step_parts(const RunPlan& plan, const StepReport& report) {
  const std::string total = grouped(plan.steps);
  return {.step = fmt::format("step {:>{}}/{}", grouped(report.step), total.size(), total),
          .epoch = fmt::format("epoch {:.2f}", report.epoch),
          .loss = "loss " + loss_text(report.loss),
          .lr = "lr " + number(report.lr),
          .rate = rate(report.samples_per_second)};
}

std::string step_line(const RunPlan& plan, const StepReport& report) {
  const StepParts parts = step_parts(plan, report);
  return fmt::format("{}  {}  {}  {}  {}", parts.step, parts.epoch, parts.loss, parts.lr, parts.rate);
}

std::string evaluation_line(const EvalReport& report) {
  std::string line = fmt::format("test at epoch {:.2f}", report.epoch);
  if (!std::isnan(report.test_accuracy)) line += "  accuracy " + accuracy_text(report.test_accuracy);
  line += fmt::format("  loss {}", loss_text(report.test_loss));
  if (!std::isnan(report.ema_test_loss)) {
    line += "  average:";
    if (!std::isnan(report.ema_test_accuracy)) line += " accuracy " + accuracy_text(report.ema_test_accuracy);
    line += fmt::format(" loss {}", loss_text(report.ema_test_loss));
  }
  return line + fmt::format("  ({:.1f} s)", report.seconds);
}

std::string assignment_line(const AssignmentReport& report) {
  std::string each;
  for (const double seconds : report.seconds) {
    each += fmt::format("{}{}", each.empty() ? "" : ", ",
                        std::isfinite(seconds) ? fmt::format("{:.2f}", 1e3 * seconds) : "-");
  }
  return fmt::format("from step {} on: {} micro-batches{}, before {}: {}", grouped(report.step),
                     fmt::join(report.micro_batches, " + "), each.empty() ? each : fmt::format(" ({} ms each)", each),
                     fmt::join(report.before, " + "), report.reason);
}

std::vector<std::string> end_lines(const Summary& summary) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{}: {}, {} {}, {} in {:.1f} s of training, {:.1f} s in all: {}",
                              status_text(summary.status), plural(summary.steps, "step", "steps"),
                              number(summary.epochs), summary.epochs == 1 ? "epoch" : "epochs",
                              plural(summary.samples, "sample", "samples"), summary.train_seconds, summary.wall_seconds,
                              rate(summary.samples_per_second)));
  for (const std::string& line : {shares_line(summary.shares), largest_share_line(summary.shares)}) {
    if (!line.empty()) lines.push_back(line);
  }
  if (!std::isnan(summary.test_accuracy) || !std::isnan(summary.test_loss)) {
    std::string line;
    if (!std::isnan(summary.test_accuracy))
      line = fmt::format("test accuracy {}  ", accuracy_text(summary.test_accuracy));
    lines.push_back(line + fmt::format("test loss {}", loss_text(summary.test_loss)));
  }
  if (summary.async) {
    const AsyncReport& async = *summary.async;
    lines.push_back(fmt::format("{}, gradients stale by {:.2f} on average and {} at most; {} dropped",
                                plural(async.versions, "version", "versions"), async.mean_staleness,
                                grouped(async.max_staleness), grouped(async.dropped)));
  }
  if (summary.loss_scale) {
    lines.push_back(fmt::format("loss scale {}; {} left out for gradients that were not finite",
                                number(summary.loss_scale->scale),
                                plural(summary.loss_scale->skipped_steps, "step", "steps")));
  }
  if (!std::isnan(summary.ema_test_loss)) {
    std::string line = "with the weights' average: ";
    if (!std::isnan(summary.ema_test_accuracy))
      line += fmt::format("test accuracy {}  ", accuracy_text(summary.ema_test_accuracy));
    lines.push_back(line + fmt::format("test loss {}", loss_text(summary.ema_test_loss)));
  }
  if (!summary.faults.empty()) {
    std::string recovered;
    for (const FaultReport& fault : summary.faults) {
      if (!std::isfinite(fault.recovery_seconds)) continue;
      recovered += fmt::format("{}{:.3f}", recovered.empty() ? "; seconds to recover: " : ", ", fault.recovery_seconds);
    }
    lines.push_back(
        fmt::format("{}{}", plural(static_cast<std::int64_t>(summary.faults.size()), "fault", "faults"), recovered));
  }
  lines.push_back(fmt::format("weights {}", summary.weights_hash));
  return lines;
}

}  // namespace dptrain
