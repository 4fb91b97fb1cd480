#include "train/async/record/continued_record.h"

#include "core/error.h"
#include "spec/reader.h"
#include "train/async/places.h"

namespace dptrain {

namespace {

/// What the record of a run lacks of all that was done up to a checkpoint; empty where nothing is missing.
std::string missing_in(const Record& record, const AsyncState& checkpoint) {
  std::int64_t version = record.header.version;
  while (version < checkpoint.version && record.rates.contains(version + 1)) ++version;
  if (version < checkpoint.version)
    return fmt::format("version {} is missing, and the checkpoint has version {}", version + 1, checkpoint.version);
  const std::int64_t pushed = checkpoint.staleness.gradients + checkpoint.staleness.dropped - record.header.pushed;
  const auto recorded = static_cast<std::int64_t>(record.gradients.size());
  if (recorded != pushed) return fmt::format("it has {} gradients, and the checkpoint counts {}", recorded, pushed);
  return "";
}

}  // namespace

ContinuedRecord continued_record(const Run& run, const AsyncState& before, std::int64_t floats) {
  const std::filesystem::path file = record_file(run.options.checkpoints.run_folder);
  if (before.recorded_from < 0 || !std::filesystem::exists(file)) return {};
  try {
    const RecordHeader header = read_record_header(file);
    const auto no = [&](const std::string& why) {
      return ContinuedRecord{.reason = fmt::format("{}: {}", file.string(), why)};
    };
    if (header.step != before.recorded_from)
      return no(
          fmt::format("it begins at step {}, and the checkpoint's at step {}", header.step, before.recorded_from));
    if (header.floats != floats)
      return no(fmt::format("it is of a model of {} floats, and this one has {}", header.floats, floats));
    const std::int64_t micro_batch = micro_batch_size(run.job, run.placement.replicas);
    if (header.micro_batch != micro_batch)
      return no(fmt::format("it is of micro-batches of {} samples, and the run goes on with {}", header.micro_batch,
                            micro_batch));
    if (header.job != hash_of_text(weights_yaml(run.job)))
      return no("it is of another job, by what decides the weights");
    const MicroBatchPlaces places(run.schedule);
    Record record = read_record(file, [&](std::int64_t step) { return places.first_of(step); });
    record.forget_from(run.first, places.first_of(run.first), before.version);
    if (const std::string missing = missing_in(record, before); !missing.empty()) return no(missing);
    return {.header = header};
  } catch (const Error& error) {
    return {.reason = error.what()};
  }
}

}  // namespace dptrain
