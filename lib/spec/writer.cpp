// The resolved spec as YAML: every key that the reader knows, with its default filled in.

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/reader.h"

namespace dptrain {
namespace {

/// In double quotes, so that no text can be taken for a number or for nothing. The reader lets no control character in.
std::string quote(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// The value, or the word that stands for "not set".
template <class T>
std::string value_or(const std::optional<T>& value, std::string_view word) {
  return value ? fmt::format("{}", *value) : std::string(word);
}

std::string interval_or(const std::optional<Interval>& interval, std::string_view word) {
  if (!interval) return std::string(word);
  const char* many = interval->every == 1 ? "" : "s";
  if (interval->unit == Interval::Unit::epochs) return fmt::format("{} epoch{}", interval->every, many);
  return fmt::format("{} step{}", static_cast<std::int64_t>(interval->every), many);
}

std::string dataset_text(const DatasetSpec& dataset) {
  std::string out = "dataset:\n";
  if (dataset.format) {
    out += fmt::format("  format: {}\n", names::dataset_format.name_of(*dataset.format));
  } else {
    out += fmt::format("  name: {}\n", quote(dataset.name));
  }
  if (!dataset.path.empty()) out += fmt::format("  path: {}\n", quote(dataset.path.string()));
  out += fmt::format("  train_samples: {}\n", value_or(dataset.train_samples, "all"));
  out += fmt::format("  test_samples: {}\n", value_or(dataset.test_samples, "all"));
  out += fmt::format("  seed: {}\n", dataset.generator_seed);
  if (dataset.resize) out += fmt::format("  resize: [{}, {}]\n", dataset.resize->first, dataset.resize->second);
  if (dataset.channels) out += fmt::format("  channels: {}\n", *dataset.channels);
  out += fmt::format("  augment: {}\n", augment_text(dataset.augment));
  out += fmt::format("  on_bad_sample: {}\n", names::on_bad_sample.name_of(dataset.on_bad_sample));
  return out;
}

struct LayerSettings {
  std::string operator()(const LinearSpec& linear) const {
    return fmt::format("out_features: {}, bias: {}, init: {}", linear.out_features, linear.bias,
                       names::initialiser.name_of(linear.init));
  }
  std::string operator()(const Conv2dSpec& conv) const {
    return fmt::format("out_channels: {}, {}, groups: {}, bias: {}, init: {}", conv.out_channels, window(conv),
                       conv.groups, conv.bias, names::initialiser.name_of(conv.init));
  }
  std::string operator()(const Pool2dSpec& pool) const { return window(pool); }
  std::string operator()(const DropoutSpec& dropout) const { return fmt::format("p: {}", dropout.probability); }
  std::string operator()(const ActivationSpec& activation) const {
    if (activation.kind != ActivationKind::leaky_relu) return "";
    return fmt::format("negative_slope: {}", activation.negative_slope);
  }
  std::string operator()(const FlattenSpec&) const { return ""; }
  std::string operator()(const SoftmaxSpec&) const { return ""; }
  std::string operator()(const NormSpec& norm) const {
    return fmt::format("{}eps: {}{}, affine: {}",
                       norm.kind == NormKind::group ? fmt::format("groups: {}, ", norm.groups) : std::string(),
                       norm.epsilon,
                       norm.kind == NormKind::batch ? fmt::format(", momentum: {}, sync: {}", norm.momentum, norm.sync)
                                                    : std::string(),
                       norm.affine);
  }
  std::string operator()(const GlobalPoolSpec&) const { return ""; }

  template <class Window>
  static std::string window(const Window& w) {
    return fmt::format("kernel_size: [{}, {}], stride: [{}, {}], padding: [{}, {}]", w.kernel_height, w.kernel_width,
                       w.stride_height, w.stride_width, w.padding_height, w.padding_width);
  }
};

/// One layer a line, those of containers indented further. `block`: how many of the recomputed blocks that begin with the first
/// layer are written already.
std::string layers_text(std::span<const LayerSpec> layers, const std::string& indent, std::size_t block = 0) {
  std::string out;
  for (; !layers.empty(); block = 0) {
    const LayerSpec& layer = layers.front();
    const auto* residual = std::get_if<ResidualSpec>(&layer.op);
    const std::size_t length = block < layer.recompute.size() ? layer.recompute[block] : 0;
    if (length > 1 || (length == 1 && residual == nullptr)) {
      out += fmt::format("{0}- repeat:\n{0}    times: 1\n{0}    recompute: true\n{0}    layers:\n{1}", indent,
                         layers_text(layers.first(length), indent + "      ", block + 1));
      layers = layers.subspan(length);
      continue;
    }
    layers = layers.subspan(1);
    out += fmt::format("{}- {}", indent, layer_kind(layer));
    if (residual != nullptr) {
      const std::string inside = fmt::format("{}      ", indent);
      out += fmt::format(":\n{2}{0}    layers:\n{1}{0}    shortcut:", indent, layers_text(residual->layers, inside),
                         length == 1 ? fmt::format("{}    recompute: true\n", indent) : std::string());
      out += residual->shortcut == Shortcut::layers
                 ? fmt::format("\n{}", layers_text(residual->shortcut_layers, inside))
                 : fmt::format(" {}\n", names::shortcut.name_of(residual->shortcut));
      continue;
    }
    const std::string settings = std::visit(
        [](const auto& op) {
          if constexpr (std::is_same_v<std::decay_t<decltype(op)>, ResidualSpec>)
            return std::string();
          else
            return LayerSettings{}(op);
        },
        layer.op);
    out += settings.empty() ? std::string("\n") : fmt::format(": {{{}}}\n", settings);
  }
  return out;
}

std::string model_text(const ModelSpec& model) {
  return fmt::format("model:\n  input: [{}]\n  layers:\n{}  loss: {{name: {}{}}}\n",
                     fmt::join(model.input.extents(), ", "), layers_text(model.layers, "    "),
                     names::loss.name_of(model.loss),
                     model.loss == LossKind::cross_entropy ? fmt::format(", label_smoothing: {}", model.label_smoothing)
                                                           : std::string());
}

struct OptimizerSettings {
  std::string operator()(const SgdSpec& sgd) const {
    return fmt::format("name: sgd, lr: {}, momentum: {}, dampening: {}, nesterov: {}, {}", sgd.lr, sgd.momentum,
                       sgd.dampening, sgd.nesterov, decay(sgd));
  }
  std::string operator()(const AdamSpec& adam) const {
    return fmt::format("name: {}, lr: {}, betas: [{}, {}], eps: {}, {}", adam.decoupled_weight_decay ? "adamw" : "adam",
                       adam.lr, adam.beta1, adam.beta2, adam.epsilon, decay(adam));
  }
  std::string operator()(const RmspropSpec& rmsprop) const {
    return fmt::format("name: rmsprop, lr: {}, alpha: {}, eps: {}, momentum: {}, {}", rmsprop.lr, rmsprop.alpha,
                       rmsprop.epsilon, rmsprop.momentum, decay(rmsprop));
  }
  std::string operator()(const AdagradSpec& adagrad) const {
    return fmt::format("name: adagrad, lr: {}, lr_decay: {}, eps: {}, {}", adagrad.lr, adagrad.lr_decay,
                       adagrad.epsilon, decay(adagrad));
  }
  std::string operator()(const LarsSpec& lars) const {
    return fmt::format("name: lars, lr: {}, momentum: {}, trust_coefficient: {}, eps: {}, {}", lars.lr, lars.momentum,
                       lars.trust_coefficient, lars.epsilon, decay(lars));
  }
  std::string operator()(const LambSpec& lamb) const {
    return fmt::format("name: lamb, lr: {}, betas: [{}, {}], eps: {}, {}", lamb.lr, lamb.beta1, lamb.beta2,
                       lamb.epsilon, decay(lamb));
  }
  std::string operator()(const MuonSpec& muon) const {
    return fmt::format(
        "name: muon, lr: {}, momentum: {}, nesterov: {}, ns_steps: {}, eps: {}, adjust_lr: {}, adamw_lr: {}, "
        "adamw_betas: [{}, {}], adamw_eps: {}, {}",
        muon.lr, muon.momentum, muon.nesterov, muon.iterations, muon.epsilon, names::muon_scale.name_of(muon.scale),
        muon.adamw_lr, muon.adamw_beta1, muon.adamw_beta2, muon.adamw_epsilon, decay(muon));
  }

  template <class Spec>
  static std::string decay(const Spec& spec) {
    return fmt::format("weight_decay: {}, weight_decay_on: {}", spec.weight_decay,
                       names::decay_on.name_of(spec.decay_on));
  }
};

struct ScheduleSettings {
  std::string_view unit;

  std::string operator()(const ConstantSchedule&) const { return "name: constant"; }
  std::string operator()(const StepSchedule& step) const {
    return fmt::format("name: step, step_size: {}, gamma: {}, unit: {}", step.step_size, step.gamma, unit);
  }
  std::string operator()(const MultiStepSchedule& steps) const {
    return fmt::format("name: multi_step, milestones: [{}], gamma: {}, unit: {}", fmt::join(steps.milestones, ", "),
                       steps.gamma, unit);
  }
  std::string operator()(const CosineSchedule& cosine) const {
    return fmt::format("name: cosine, min_lr: {}", cosine.min_lr);
  }
  std::string operator()(const LinearSchedule& linear) const {
    return fmt::format("name: linear, end_factor: {}", linear.end_factor);
  }
  std::string operator()(const OneCycleSchedule& cycle) const {
    return fmt::format("name: one_cycle, max_lr: {}, pct_start: {}, div_factor: {}, final_div_factor: {}", cycle.max_lr,
                       cycle.pct_start, cycle.div_factor, cycle.final_div_factor);
  }
};

std::string train_text(const TrainSpec& train) {
  const ScheduleSpec& schedule = train.schedule;
  std::string out = "train:\n";
  if (train.epochs) out += fmt::format("  epochs: {}\n", *train.epochs);
  if (train.steps) out += fmt::format("  steps: {}\n", *train.steps);
  out += fmt::format("  global_batch_size: {}\n", train.global_batch_size);
  out += fmt::format("  micro_batch_size: {}\n", value_or(train.micro_batch_size, "auto"));
  out += fmt::format("  precision: {}\n", names::precision.name_of(train.precision));
  // Where they have an effect, or the job sets them: what fp32 trains is not another job for settings that it never had.
  if (train.precision == Precision::fp16 || train.loss_scale != LossScaleSpec{})
    out += fmt::format("  loss_scale: {{init_scale: {}, growth_interval: {}, min_scale: {}}}\n",
                       train.loss_scale.init_scale, train.loss_scale.growth_interval, train.loss_scale.min_scale);
  if (train.communication != Communication::fp32)
    out += fmt::format("  communication: {}\n", names::communication.name_of(train.communication));
  out += fmt::format("  optimizer: {{{}}}\n", std::visit(OptimizerSettings{}, train.optimizer));
  out += fmt::format("  lr_schedule: {{{}, warmup_steps: {}, warmup_start: {}}}\n",
                     std::visit(ScheduleSettings{names::schedule_unit.name_of(schedule.unit)}, schedule.shape),
                     schedule.warmup_steps, schedule.warmup_start);
  out += fmt::format("  lr_scaling: {}\n", train.lr_scaling
                                               ? fmt::format("{{name: {}, reference_batch_size: {}}}",
                                                             names::lr_scaling.name_of(train.lr_scaling->rule),
                                                             train.lr_scaling->reference_batch_size)
                                               : "none");
  out += fmt::format("  ema: {}\n", train.ema ? fmt::format("{{decay: {}}}", train.ema->decay) : "none");
  out += fmt::format("  clip_grad_norm: {}\n", value_or(train.clip_norm, "none"));
  out += fmt::format("  shuffle: {}\n", train.shuffle);
  return out;
}

std::string local_sgd_text(const LocalSgdSpec& local) {
  const std::string outer =
      local.outer_optimizer ? fmt::format("{{{}}}", std::visit(OptimizerSettings{}, *local.outer_optimizer)) : "none";
  return fmt::format(
      "local_sgd: {{workers: {}, sync_every: {}, worker_state: {}, warmup_sync_steps: {}, outer_optimizer: {}}}\n",
      local.workers, local.sync_every, names::worker_state.name_of(local.worker_state), local.warmup_sync_steps, outer);
}

std::string async_text(const AsyncSpec& async) {
  std::string out = "async:\n";
  out += fmt::format("  max_staleness: {}\n", value_or(async.max_staleness, "null"));
  out += fmt::format("  on_stale: {}\n", names::on_stale.name_of(async.on_stale));
  out += fmt::format("  updates_per_apply: {}\n", value_or(async.updates_per_apply, "auto"));
  out += fmt::format("  updates: {}\n", names::store_updates.name_of(async.updates));
  out += fmt::format("  shards: {}\n", value_or(async.shards, "auto"));
  out += fmt::format("  record: {}\n", async.record);
  return out + fmt::format("  fallback: {}\n",
                           async.fallback_loss_above
                               ? fmt::format("{{to: sync, if_loss_above: {}}}", *async.fallback_loss_above)
                               : "none");
}

std::string faults_text(const JobSpec& job) {
  const FaultsSpec& faults = job.faults;
  std::string out = fmt::format(
      "faults:\n  on_nan: {}\n  rollback_lr_factor: {}\n  max_rollbacks: {}\n  max_skips: {}\n",
      names::on_nan.name_of(faults.on_nan), faults.rollback_lr_factor, faults.max_rollbacks, faults.max_skips);
  out +=
      fmt::format("  on_replica_failure: {}\n  step_deadline: {}\n",
                  names::on_replica_failure.name_of(faults.on_replica_failure), value_or(faults.step_deadline, "none"));
  out += fmt::format("balance: {}\ndrills:{}\n", names::balance.name_of(job.balance), job.drills.empty() ? " []" : "");
  for (const DrillSpec& drill : job.drills) {
    out += fmt::format("  - {{at_step: {}, replica: {}, do: {}{}{}}}\n", drill.at_step, drill.replica,
                       names::drill.name_of(drill.kind),
                       drill.seconds ? fmt::format(", seconds: {}", *drill.seconds) : std::string(),
                       drill.kind == DrillKind::slow ? fmt::format(", factor: {}", drill.factor) : std::string());
  }
  return out;
}

/// What decides the weights where a value that is not finite does not end the run. On which replica a drill makes one does not.
std::string decisive_faults(const JobSpec& job) {
  const OnNan on_nan = job.faults.on_nan;
  if (on_nan == OnNan::stop) return "";
  std::string out = fmt::format("faults: {{on_nan: {}", names::on_nan.name_of(on_nan));
  if (on_nan == OnNan::rollback) {
    out += fmt::format(", rollback_lr_factor: {}}}\ncheckpoint: {{every: {}", job.faults.rollback_lr_factor,
                       interval_or(job.checkpoint.every, "end"));  // how far it goes back
  }
  out += "}\n";
  const std::vector<std::int64_t> steps = nan_drill_steps(job);
  if (!steps.empty()) out += "drills:\n";
  for (const std::int64_t step : steps) out += fmt::format("  - {{at_step: {}, do: nan}}\n", step);
  return out;
}

/// The same layers, with every activation kept: what is computed again has the same bits.
void keep_all(std::vector<LayerSpec>& layers) {
  for (LayerSpec& layer : layers) {
    layer.recompute.clear();
    if (auto* residual = std::get_if<ResidualSpec>(&layer.op)) {
      keep_all(residual->layers);
      keep_all(residual->shortcut_layers);
    }
  }
}

}  // namespace

std::string weights_yaml(const JobSpec& job) {
  JobSpec decisive = job;
  decisive.train.epochs.reset();  // how long it runs
  decisive.train.steps = 1;
  if (decisive.train.precision != Precision::fp16) decisive.train.loss_scale = {};
  keep_all(decisive.model.layers);
  return fmt::format("seed: {}\n", job.seed) + dataset_text(job.dataset) + model_text(decisive.model) +
         train_text(decisive.train) +
         fmt::format("mode: {}\nreproducible: {}\n", names::mode.name_of(job.mode), job.reproducible) +
         decisive_faults(job) + (job.mode == Mode::local_sgd ? local_sgd_text(job.local_sgd) : "") +
         (job.mode == Mode::async ? async_text(job.async) : "");
}

std::string to_yaml(const JobSpec& job) {
  std::string out = fmt::format("name: {}\nseed: {}\n", quote(job.name), job.seed);
  out += dataset_text(job.dataset);
  out += model_text(job.model);
  out += train_text(job.train);
  out += fmt::format("devices: {{type: {}, count: {}, threads_per_replica: {}, share: {}}}\n",
                     job.devices.type ? names::device_type.name_of(*job.devices.type) : "auto",
                     value_or(job.devices.count, "auto"), job.devices.threads_per_replica, job.devices.share);
  out += fmt::format("mode: {}\nreproducible: {}\n", names::mode.name_of(job.mode), job.reproducible);
  out += async_text(job.async);
  out += local_sgd_text(job.local_sgd);
  out +=
      fmt::format("evaluate: {{every: {}, views: {}}}\n", interval_or(job.evaluate.every, "end"), job.evaluate.views);
  out += fmt::format("checkpoint: {{every: {}, keep: {}}}\n", interval_or(job.checkpoint.every, "end"),
                     job.checkpoint.keep);
  out += fmt::format("data: {{prefetch: {}, workers: {}, cache_bytes: {}, unpack_bytes: {}}}\n", job.data.prefetch,
                     value_or(job.data.workers, "auto"), job.data.cache_bytes, job.data.unpack_bytes);
  out += fmt::format("log: {{every: {}}}\n", interval_or(job.log.every, "auto"));
  out += fmt::format("expect: {{test_accuracy: {}, test_loss: {}}}\n", value_or(job.expect.test_accuracy, "none"),
                     value_or(job.expect.test_loss, "none"));
  out += faults_text(job);
  return out;
}

}  // namespace dptrain
