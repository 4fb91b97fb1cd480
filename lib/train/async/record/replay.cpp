#include "train/async/record/replay.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <thread>

#include "comm/local/local_group.h"
#include "core/error.h"
#include "optim/optimizer.h"
#include "spec/reader.h"
#include "train/async/async_run.h"
#include "train/async/record/version_sums.h"
#include "train/backend.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/first_weights.h"
#include "train/fit/fit.h"
#include "train/float_mode.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

constexpr int kNone = -1;

/// A gradient of the record on its way.
struct Pending {
  const RecordedGradient* recorded = nullptr;
  int weights = kNone;      // the buffer of those it reads in more than one piece
  std::size_t missing = 0;  // readings of its weights
};

/// The job with the recorded cut, which may have followed from the number of replicas, and without drills: what they
/// did is recorded.
JobSpec without_trouble(JobSpec job, const RecordHeader& header) {
  job.train.micro_batch_size = header.micro_batch;
  job.drills.clear();
  return job;
}

/// What `read` makes of a record. Errors: its own, with what follows from it here.
template <class Read>
auto to_replay(const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(error.status(), fmt::format("{}: the run cannot be replayed", error.what()));
  }
}

class Replay {
 public:
  Replay(const JobSpec& job, const DatasetPair& data, const std::filesystem::path& file,
         const std::filesystem::path& first_weights)
      : header_(to_replay([&] { return read_record_header(file); })),
        job_(without_trouble(job, header_)),
        data_(data),
        file_(file),
        first_weights_(first_weights),
        placement_(place(job_, data.train->size())),
        group_(placement_.replicas),
        schedule_(job_, data.train->size(), placement_.replicas),
        places_(schedule_),
        backend_(make_backend(job_, placement_)) {
    if (header_.job != hash_of_text(weights_yaml(job)))
      fail(ExitStatus::failed, "{}: is a record of another job than the run's job.yaml", file_.string());
  }

  ReplayResult run() {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < placement_.replicas; ++rank) {
      threads.emplace_back([this, rank] {
        try {
          live(rank);
        } catch (const GroupAborted&) {
          // Another has failed and said why.
        } catch (...) {
          group_.abort(std::current_exception());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (const std::exception_ptr error = group_.error()) std::rethrow_exception(error);
    return result_;
  }

 private:
  void live(int rank) {
    omp_set_num_threads(static_cast<int>(job_.devices.threads_per_replica));
    flush_denormals();
    const auto replica = backend_->make_replica({.job = job_,
                                                 .schedule = schedule_,
                                                 .data = data_,
                                                 .rank = rank,
                                                 .replicas = placement_.replicas,
                                                 .steps = false,
                                                 .single_sizes = schedule_.batch_sizes()});
    if (rank == 0) begin(replica->parameters());
    for (std::int64_t version = header_.version;; ++version) {
      if (rank == 0) hand_out(version);
      group_.barrier();
      for (std::size_t k = next_++; k < ready_.size(); k = next_++) compute(*replica, *ready_[k]);
      group_.barrier();
      if (version == last_) break;
      if (rank == 0) apply(version + 1);
    }
    if (rank == 0) result_.weights_hash = replica->parameters().hash(store_->weights());
  }

  /// Rank 0's: the store as the run began with it, and who reads and makes what.
  void begin(const ParameterTable& table) {
    const RecordHeader& header = header_;
    if (header.floats != table.floats())
      fail(ExitStatus::failed, "{}: is of a model of {} floats, and this one has {}", file_.string(), header.floats,
           table.floats());
    store_ = make_locked_store({.floats = table.floats(),
                                .state_buffers = state_buffers(job_.train.optimizer),
                                .ranges = update_plan(table, job_.train).ranges,
                                .shards = header.shards,
                                .version = header.version,
                                .clip_norm = job_.train.clip_norm,
                                .allocate = backend_->host_allocator()});
    sums_ = std::make_unique<VersionSums>(table.floats(), backend_->host_allocator());
    load_first_weights(table);
    if (static_cast<std::int64_t>(store_->shards()) != header.shards)
      fail(ExitStatus::failed, "{}: {} shards for {} floats", file_.string(), header.shards, header.floats);
    record_ = to_replay([&] { return read_record(file_, [&](std::int64_t step) { return places_.first_of(step); }); });
    for (const RecordedGradient& gradient : record_.gradients) {
      if (gradient.index < 0 || gradient.index >= places_.first_of(schedule_.steps()))
        fail(ExitStatus::failed, "{}: the run has no micro-batch {}", file_.string(), gradient.index);
      if (!gradient.version) {
        ++result_.dropped;
        continue;
      }
      ++result_.gradients;
      last_ = std::max(last_, *gradient.version);
      // One version of all shards is one reading.
      for (std::size_t k = 0; k < gradient.read.size(); ++k) reads_[gradient.read[k]].push_back({&gradient, k});
    }
    sums_->expect(record_.gradients);
    last_ = std::max(last_, header.version);
    result_.versions = last_;
    result_.first_step = header.step;
    result_.first_version = header.version;
  }

  /// Weights and optimizer state as the record begins.
  void load_first_weights(const ParameterTable& table) {
    const RecordHeader& header = header_;
    const std::filesystem::path checkpoint = checkpoint_folder(file_.parent_path(), header.step);
    std::string whose = "the seed's";
    if (!first_weights_.empty()) {
      if (header.step > 0)
        fail(ExitStatus::usage, "{}: the record begins at step {}, with the weights of {}, not with those of a file",
             file_.string(), header.step, checkpoint.string());
      init_from(first_weights_, table, store_->weights());
      whose = first_weights_.string();
    } else if (std::filesystem::exists(checkpoint)) {
      std::vector<float*> states;
      for (int k = 0; k < state_buffers(job_.train.optimizer); ++k) states.push_back(store_->state(k));
      read_checkpoint(checkpoint).restore(table, store_->weights(), state_names(job_.train.optimizer), states);
      whose = checkpoint.string();
    } else if (header.step > 0) {
      fail(ExitStatus::failed, "{}: the record begins at step {}, and {} is missing", file_.string(), header.step,
           checkpoint.string());
    } else {
      seed_weights(table, job_.seed, *data_.train, store_->weights());
    }
    if (table.hash(store_->weights()) != header.weights)
      fail(ExitStatus::failed,
           "{}: the run began with other weights than {}; a run that began with --init-from is replayed with the same "
           "file",
           file_.string(), whose);
  }

  /// Rank 0's: what was read in part at `version` is copied; gradients that have all their weights are ready, in the
  /// order in which they are added.
  void hand_out(std::int64_t version) {
    for (const Pending* done : ready_) pending_.erase(done->recorded->index);
    ready_.clear();
    next_ = 0;
    const auto reads = reads_.find(version);
    if (reads == reads_.end()) return;
    for (const auto& [gradient, shard] : reads->second) {
      Pending& pending = pending_[gradient->index];
      const bool all = gradient->read.size() == 1;
      if (pending.recorded == nullptr)
        pending = {.recorded = gradient, .weights = all ? kNone : sums_->take(), .missing = gradient->read.size()};
      if (!all) {
        const Range range = store_->shard(shard);
        std::memcpy(sums_->floats(pending.weights) + range.first, store_->weights() + range.first,
                    static_cast<std::size_t>(range.count()) * sizeof(float));
      }
      if (--pending.missing == 0) ready_.push_back(&pending);
    }
    reads_.erase(reads);
    std::sort(ready_.begin(), ready_.end(), [](const Pending* a, const Pending* b) {
      return std::pair(a->recorded->version, a->recorded->index) < std::pair(b->recorded->version, b->recorded->index);
    });
  }

  void compute(Replica& replica, const Pending& pending) const {
    const bool in_parts = pending.weights != kNone;
    const int gradient = sums_->take();
    const MicroBatchPlace place = places_.at(pending.recorded->index);
    const MicroBatch& part = schedule_.plan(place.step).micro_batches[static_cast<std::size_t>(place.micro_batch)];
    replica.gradient({.step = place.step,
                      .first = part.first,
                      .count = part.count,
                      .weights = in_parts ? sums_->floats(pending.weights) : store_->weights(),
                      .version = pending.recorded->index,
                      .gradient = sums_->floats(gradient)});
    if (in_parts) sums_->give_back(pending.weights);
    sums_->put(*pending.recorded, gradient);
  }

  /// Rank 0's.
  void apply(std::int64_t version) {
    const auto& members = sums_->members(version);
    if (members.empty()) fail(ExitStatus::failed, "{}: nothing is recorded of version {}", file_.string(), version);
    const auto rate = record_.rates.find(version);
    if (rate == record_.rates.end())
      fail(ExitStatus::failed, "{}: the record is incomplete: it has no rate of version {}", file_.string(), version);
    VersionUpdate update{.leaves = sums_->leaves(version),
                         .rule = rule_of(job_.train.optimizer, version - 1, rate->second)};
    std::int64_t samples = 0;
    for (const RecordedGradient* member : members) samples += places_.samples(member->index);
    update.samples = static_cast<float>(samples);
    store_->announce(version, std::move(update));
    store_->apply(version);
    sums_->done(version);
  }

  const RecordHeader header_;
  const JobSpec job_;
  const DatasetPair& data_;
  const std::filesystem::path file_, first_weights_;
  const Placement placement_;
  LocalGroup group_;
  const RunSchedule schedule_;
  const MicroBatchPlaces places_;
  const std::unique_ptr<Backend> backend_;

  // Rank 0's between barriers.
  std::unique_ptr<Store> store_;
  std::unique_ptr<VersionSums> sums_;
  Record record_;
  std::map<std::int64_t, std::vector<std::pair<const RecordedGradient*, std::size_t>>> reads_;  // by version
  std::map<std::int64_t, Pending> pending_;                                                     // by micro-batch
  std::int64_t last_ = 0;                                                                       // version
  std::vector<Pending*> ready_;
  std::atomic<std::size_t> next_{0};
  ReplayResult result_;
};

}  // namespace

ReplayResult replay(const JobSpec& job, const DatasetPair& data, const std::filesystem::path& file,
                    const std::filesystem::path& init_from) {
  return Replay(job, data, file, init_from).run();
}

}  // namespace dptrain
