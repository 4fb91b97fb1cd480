// The top level of a spec with its small blocks, and the checks that need several of them.

#include <algorithm>

#include "core/divide.h"
#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/shapes.h"

namespace dptrain {
namespace {

constexpr std::int64_t kMaxReplicas = 4096;

DevicesSpec read_devices(const Value& block) {
  DevicesSpec devices;
  const std::string& single = block.node.text;
  const bool is_number = single.find_first_not_of("0123456789") == std::string::npos;
  MapReader map(block, {.main = is_number ? "count" : "type"});
  map.optional("type", devices.type, or_keyword<DeviceType>("auto", choice(names::device_type)));
  map.optional("count", devices.count, or_keyword<std::int64_t>("auto", integer(1, kMaxReplicas)));
  map.optional("threads_per_replica", devices.threads_per_replica, integer(1, kMaxKernel));
  map.optional("share", devices.share, boolean);
  map.finish();
  devices.at = map.at("count").outlive();
  if (devices.type == DeviceType::cuda && devices.threads_per_replica != 1) {
    map.error("threads_per_replica", "a CUDA replica has one thread", "remove it; it is for CPU replicas");
  }
  if (devices.type == DeviceType::cpu && devices.share) {
    map.error("share", "is for GPUs", "remove it; replicas on the CPU take a core each, and share those there are");
  }
  return devices;
}

EvaluateSpec read_evaluate(const Value& block) {
  EvaluateSpec evaluate;
  MapReader map(block, {.main = "every"});
  map.optional("every", evaluate.every, or_keyword<Interval>("end", interval));
  map.optional("views", evaluate.views, integer(1, 6));
  evaluate.views_at = map.at("views").outlive();
  if (evaluate.views != 1 && evaluate.views != 2 && evaluate.views != 6)
    map.error("views", "expected 1, 2 or 6",
              "1 is the image, 2 it and its mirror image, 6 these and both moved by a pixel in two directions");
  map.finish();
  return evaluate;
}

void check_views(const JobSpec& job, Diagnostics& diagnostics) {
  if (job.evaluate.views == 1) return;
  const Shape& input = job.model.input;
  if (input.rank() == 3 && input[1] > 1 && input[2] > 1) return;
  diagnostics.error(job.evaluate.views_at, "evaluate.views: only images of two pixels and more have several views",
                    "remove it");
}

CheckpointSpec read_checkpoint_block(const Value& block) {
  CheckpointSpec checkpoint;
  MapReader map(block, {.main = "every"});
  map.optional("every", checkpoint.every, or_keyword<Interval>("end", interval));
  map.optional("keep", checkpoint.keep, integer(1, 1'000'000));
  map.finish();
  return checkpoint;
}

DataSpec read_data(const Value& block) {
  DataSpec data;
  MapReader map(block);
  map.optional("prefetch", data.prefetch, integer(1, 1024));
  map.optional("workers", data.workers, or_keyword<std::int64_t>("auto", integer(0, 64)));
  map.optional("cache_bytes", data.cache_bytes, byte_count(0));
  map.optional("unpack_bytes", data.unpack_bytes, byte_count(1));
  map.finish();
  return data;
}

LogSpec read_log(const Value& block) {
  LogSpec log;
  MapReader map(block, {.main = "every"});
  map.optional("every", log.every, or_keyword<Interval>("auto", interval));
  map.finish();
  return log;
}

/// Mode sync has no settings of its own.
bool read_sync(const Value& block) {
  MapReader map(block);
  map.take("train");  // is in its place already
  map.finish();
  return true;
}

ExpectSpec read_expect(const Value& block) {
  ExpectSpec expect;
  MapReader map(block, {.main = "test_accuracy"});
  map.optional("test_accuracy", expect.test_accuracy, or_keyword<double>("none", number(kFraction)));
  map.optional("test_loss", expect.test_loss, or_keyword<double>("none", number(kAtLeastZero)));
  map.finish();
  return expect;
}

/// The default name: the file's stem, with '_' for what a name cannot hold.
std::string default_name(const std::filesystem::path& file) {
  std::string name = file.stem().string().substr(0, 100);
  for (char& c : name) {
    if (!is_plain_character(c)) c = '_';
  }
  if (!name.empty() && name.front() == '.') name.front() = '_';
  return name.empty() ? "job" : name;
}

/// In sync mode a replica without a micro-batch in a full step could never do anything.
void check_replicas(const JobSpec& job, Diagnostics& diagnostics) {
  if (job.mode != Mode::sync || !job.devices.count) return;
  const std::int64_t replicas = *job.devices.count;
  const std::int64_t global = job.train.global_batch_size;
  const std::int64_t size = micro_batch_size(job, replicas);
  const std::int64_t micro_batches = divide_up(global, size);
  if (replicas <= micro_batches) return;
  std::string hint = fmt::format("set devices.count to {} or below", micro_batches);
  if (replicas <= global)
    hint += fmt::format(", or train.micro_batch_size to {} or below", (global - 1) / (replicas - 1));
  diagnostics.error(
      job.devices.at,
      fmt::format("devices.count: {} replicas, but a step of {} samples in micro-batches of {}{} has only {}", replicas,
                  global, size, job.train.micro_batch_size ? "" : " (auto)", micro_batches),
      hint);
}

/// Micro-batches of a full step differ by at most one sample; what is left for an epoch's last step is known with the
/// data.
void check_smallest_batch(const JobSpec& job, Diagnostics& diagnostics) {
  if (!job.train.micro_batch_size && !job.reproducible) return;  // depends on the number of replicas
  const std::int64_t global = job.train.global_batch_size;
  check_batch_norms(job.model, global / divide_up(global, micro_batch_size(job, 1)), global, diagnostics);
}

/// Norms over a whole step need one that all its micro-batches take together.
void check_sync_norms(const JobSpec& job, Diagnostics& diagnostics) {
  const std::vector<LayerShape> norms = sync_norms(job.model);
  if (norms.empty()) return;
  if (job.mode != Mode::sync) {
    diagnostics.error(
        norms.front().at,
        fmt::format("batch_norm: sync: true is for mode: sync, and this is mode: {}", names::mode.name_of(job.mode)),
        "leave it out: statistics are those of a micro-batch then");
  } else if (job.faults.on_replica_failure == OnReplicaFailure::continue_) {
    diagnostics.error(
        job.faults.on_replica_failure_at,
        "faults.on_replica_failure: continue does not go with batch_norm: {sync: true}: the replicas meet in the "
        "midst of a step, and one that has failed does not come",
        "use stop, and --resume");
  }
}

void check_drills(const JobSpec& job, Diagnostics& diagnostics) {
  for (const DrillSpec& drill : job.drills) {
    if (job.devices.count && drill.replica >= *job.devices.count) {
      diagnostics.error(drill.at,
                        fmt::format("there is no replica {}: the job has {}", drill.replica, *job.devices.count),
                        "replicas are counted from 0");
    }
  }
}

}  // namespace

std::int64_t micro_batch_size(const JobSpec& job, std::int64_t replicas) {
  constexpr std::int64_t kReproducibleParts = 8;
  const std::int64_t parts = job.reproducible ? kReproducibleParts : replicas;
  return job.train.micro_batch_size.value_or(divide_up(job.train.global_batch_size, parts));
}

JobSpec read_job_tree(const Value& root, const std::filesystem::path& file) {
  JobSpec job;
  job.file = file;
  job.name = default_name(file);
  MapReader map(root);
  Diagnostics& diagnostics = root.diagnostics;
  bool good = map.is_map();  // what the checks below look at has been read without a complaint
  const auto block = [&](std::string_view key, bool is_required, auto& out, auto read) {
    if (const std::optional<Value> value = map.take(key)) {
      out = read(*value);
    } else if (is_required) {
      map.missing(key);
    }
  };
  map.optional("name", job.name, plain_name);
  map.optional("seed", job.seed, seed);
  block("dataset", true, job.dataset, read_dataset);
  const std::size_t before_model = diagnostics.problems();
  block("model", true, job.model, read_model);
  const bool model_is_good = good && diagnostics.problems() == before_model;
  const std::size_t before_train = diagnostics.problems();
  block("train", true, job.train, read_train);
  block("devices", false, job.devices, read_devices);
  map.optional("mode", job.mode, choice(names::mode));
  bool sync = false;
  block("sync", false, sync, read_sync);
  block("async", false, job.async, read_async);
  map.optional("reproducible", job.reproducible, boolean);
  block("local_sgd", false, job.local_sgd, read_local_sgd);
  good = good && diagnostics.problems() == before_train;
  block("evaluate", false, job.evaluate, read_evaluate);
  block("checkpoint", false, job.checkpoint, read_checkpoint_block);
  block("data", false, job.data, read_data);
  block("log", false, job.log, read_log);
  block("expect", false, job.expect, read_expect);
  block("faults", false, job.faults, read_faults);
  map.optional("balance", job.balance, choice(names::balance));
  job.balance_at = map.at("balance").outlive();
  block("drills", false, job.drills, read_drills);
  if (map.take("gpus"))
    map.error("gpus", "'devices' is given too", "'gpus: N' is short for 'devices: {type: cuda, count: N}'");
  map.later("resume", "a run is continued by --resume; remove the key");
  map.later("augment", "augmentation stands in 'dataset': write dataset: {augment: [...]}");
  map.finish();

  if (model_is_good) check_shapes(job.model, diagnostics);
  if (model_is_good) check_views(job, diagnostics);
  if (good) check_replicas(job, diagnostics);
  if (good) check_local_sgd(job, diagnostics);
  if (good) check_async(job, diagnostics);
  if (good && model_is_good && diagnostics.problems() == before_model) {
    check_smallest_batch(job, diagnostics);
    check_sync_norms(job, diagnostics);
  }
  check_drills(job, diagnostics);
  return job;
}

}  // namespace dptrain
