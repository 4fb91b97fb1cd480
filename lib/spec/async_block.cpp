// The settings of mode async, and the checks that need other blocks.

#include "core/divide.h"
#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/texts.h"

namespace dptrain {

namespace {

constexpr std::int64_t kMaxLag = 1'000'000;
constexpr std::int64_t kMaxShards = 65536;

/// A bound, or null.
std::optional<std::optional<std::int64_t>> staleness(const Value& value) {
  if (value.node.kind == Node::Kind::null) return std::optional<std::int64_t>();
  if (const std::optional<std::int64_t> bound = integer(0, kMaxLag)(value)) return bound;
  return std::nullopt;
}

std::optional<double> read_fallback(const Value& block) {
  if (block.is_keyword("none")) return std::nullopt;
  Mode to = Mode::sync;
  double above = 0;
  MapReader map(block, {.main = "if_loss_above"});
  map.optional("to", to, choice(names::fallback));
  map.required("if_loss_above", above, number(kAtLeastZero));
  map.finish();
  return above;
}

}  // namespace

AsyncSpec read_async(const Value& block) {
  AsyncSpec async;
  MapReader map(block, {.main = "max_staleness"});
  map.optional("max_staleness", async.max_staleness, staleness);
  map.optional("on_stale", async.on_stale, choice(names::on_stale));
  map.optional("updates_per_apply", async.updates_per_apply, or_keyword<std::int64_t>("auto", integer(1, kMaxExtent)));
  map.optional("updates", async.updates, choice(names::store_updates));
  map.optional("shards", async.shards, or_keyword<std::int64_t>("auto", integer(1, kMaxShards)));
  map.optional("record", async.record, boolean);
  map.take("train");  // is in its place already: spec/mode_settings.h
  if (const std::optional<Value> fallback = map.take("fallback")) async.fallback_loss_above = read_fallback(*fallback);
  async.updates_per_apply_at = map.at("updates_per_apply").outlive();
  if (async.updates == StoreUpdates::hogwild) {
    if (async.updates_per_apply.value_or(1) > 1) {
      map.error("updates_per_apply", "hogwild applies each gradient as it comes",
                "a version of several gradients has to be complete first; remove it, or use updates: locked");
    }
    if (async.max_staleness == 0) {
      map.error("max_staleness", "0 is a synchronous run, of which hogwild has nothing to offer",
                "use updates: locked, or a bound of 1 or more");
    }
    if (async.record) {
      map.error("record", "hogwild cannot be replayed: which update of an element was lost to which is known to nobody",
                "remove it, or use updates: locked");
    }
  }
  map.finish();
  return async;
}

void check_async(const JobSpec& job, Diagnostics& diagnostics) {
  if (job.mode != Mode::async || job.async.max_staleness != 0 || !job.async.updates_per_apply) return;
  if (!job.train.micro_batch_size && !job.reproducible && !job.devices.count)
    return;  // not known before the devices are
  const std::int64_t size = micro_batch_size(job, job.devices.count.value_or(1));
  const std::int64_t micro_batches = divide_up(job.train.global_batch_size, size);
  if (*job.async.updates_per_apply == micro_batches) return;
  diagnostics.error(
      job.async.updates_per_apply_at,
      fmt::format(
          "async.updates_per_apply: max_staleness 0 makes a version of a whole step, which has {} micro-batches",
          micro_batches),
      fmt::format("set it to auto or {}, or max_staleness to 1 or more", micro_batches));
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

}  // namespace dptrain
