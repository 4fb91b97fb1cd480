// The resolved spec as YAML: every key that the reader knows, with its default filled in. The text of a large block is
// written where the block is read.

#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/reader.h"
#include "spec/texts.h"

namespace dptrain {
namespace {

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
