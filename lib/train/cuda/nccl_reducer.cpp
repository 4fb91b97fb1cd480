#include "train/cuda/nccl_reducer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

Buffer device_floats(std::int64_t count) {
  return cuda::device_buffer(static_cast<std::size_t>(count) * sizeof(float));
}

float* at(const Buffer& buffer, std::int64_t offset) {
  return buffer.size() == 0 ? nullptr : buffer.floats() + offset;
}

/// How many sums the replica hands over at most.
std::size_t most_roots(const RunSchedule& schedule, std::size_t rank, bool reassigned) {
  std::size_t most = 0;
  for (const StepPlan* plan : {&schedule.full(), &schedule.last()}) {
    const int any = buffers_for_any_range(static_cast<int>(plan->micro_batches.size()));
    most = std::max(most, reassigned ? static_cast<std::size_t>(any) : plan->programs[rank].roots.size());
  }
  return most;
}

}  // namespace

NcclReducer::NcclReducer(const ReducerConfig& config, Options options)
    : group_(config.group),
      watchdog_(config.watchdog),
      floats_(config.floats),
      chunks_((config.floats + kChunk - 1) / kChunk),
      state_buffers_(config.state_buffers),
      clip_norm_(config.clip_norm),
      loss_scaling_(config.loss_scaling),
      needs_norm_(clip_norm_ || loss_scaling_),
      needs_mean_(needs_norm_ || !config.plan.tensors.empty()),
      options_(std::move(options)),
      in_slices_(options_.reproducible && config.plan.tensors.empty()),
      size_(options_.processes == nullptr ? group_.size() : options_.placement->replicas),
      here_(options_.processes == nullptr ? Range{0, size_}
                                          : options_.placement->replicas_of(options_.processes->rank())) {
  DPTRAIN_CHECK(options_.bucket_floats % kChunk == 0 && options_.bucket_floats > 0, "a bucket of {} floats",
                options_.bucket_floats);
  for (std::int64_t first = 0; first < floats_; first += options_.bucket_floats) {
    Bucket bucket{first, std::min(options_.bucket_floats, floats_ - first), {}};
    for (int r = 0; r < size_; ++r) {
      const Range chunks = share(static_cast<int>((bucket.count + kChunk - 1) / kChunk), size_, r);
      const std::int64_t begin = std::min(bucket.count, chunks.first * kChunk);
      bucket.slices.push_back({first + begin, std::min(bucket.count, chunks.last * kChunk) - begin});
    }
    slices_.push_back(bucket.slices);
    slices_of_squares_.emplace_back();
    for (const nccl::Slice& part : bucket.slices)  // doubles, in floats
      slices_of_squares_.back().push_back(
          {2 * ((part.first + kChunk - 1) / kChunk), 2 * ((part.count + kChunk - 1) / kChunk)});
    buckets_.push_back(std::move(bucket));
  }
  for (int r = here_.first; r < here_.last; ++r) {
    cuda::use_device(device(r));
    members_.push_back(make_member(r, config));
  }
  cuda::use_device(device(here_.first));
  if (is_spread() && options_.processes->rank() == 0)
    gathered_.assign(static_cast<std::size_t>(state_buffers_), std::vector<float>(static_cast<std::size_t>(floats_)));
  nccl_ = make_communicators();
}

std::unique_ptr<nccl::NcclGroup> NcclReducer::make_communicators() const {
  const std::span<const int> devices(options_.devices.data() + here_.first, static_cast<std::size_t>(here_.count()));
  ncclUniqueId id{};
  if (options_.processes == nullptr || options_.processes->rank() == 0) id = nccl::NcclGroup::make_id();
  if (options_.processes != nullptr) {
    std::vector<ncclUniqueId> all(static_cast<std::size_t>(options_.processes->size()));
    options_.processes->all_gather(&id, sizeof id, all.data());
    id = all.front();
  }
  // That takes longer than a step; whoever is lost is noticed by others sooner.
  const auto patience = std::max<std::chrono::nanoseconds>(options_.step_deadline, std::chrono::minutes(1));
  return std::make_unique<nccl::NcclGroup>(id, size_, here_.first, devices, patience, [&group = group_] {
    if (group.aborted()) throw GroupAborted{};
  });
}

std::unique_ptr<NcclReducer::Member> NcclReducer::make_member(int rank, const ReducerConfig& config) const {
  const UpdatePlan& plan = config.plan;
  auto member = std::make_unique<Member>();
  member->ready.resize(buckets_.size());
  for (Stages& stages : member->stages) stages.reduced.resize(buckets_.size());
  member->parameters = device_floats(floats_);
  for (int k = 0; k < state_buffers_; ++k) member->state[k] = device_floats(floats_);
  if (plan.average) member->average = device_floats(floats_);
  member->blocks = upload_blocks(plan.ranges, floats_);
  std::int64_t mine = 0;
  for (const Bucket& bucket : buckets_) {
    member->received_at.push_back(mine);
    mine += bucket.slices[static_cast<std::size_t>(rank)].count;
  }
  member->received.resize(static_cast<std::size_t>(size_));
  for (std::size_t peer = 0; options_.reproducible && peer < member->received.size(); ++peer) {
    if (static_cast<int>(peer) == rank) continue;
    for (std::size_t k = 0; k < most_roots(config.schedule, peer, config.reassigned); ++k)
      member->received[peer].push_back(device_floats(mine));
  }
  if (options_.communication == Communication::bf16)
    member->packed = cuda::device_buffer(static_cast<std::size_t>(options_.bucket_floats) * sizeof(std::uint16_t));
  if (needs_mean_) member->mean = device_floats(floats_);
  if (!plan.tensors.empty())
    member->tensors = std::make_unique<CudaTensorUpdates>(plan, floats_, member->stream.get(), options_.reproducible);
  if (needs_norm_) {
    member->chunk_squares = cuda::device_buffer(static_cast<std::size_t>(chunks_) * sizeof(double));
    member->factor = device_floats(1);
  }
  return member;
}

NcclReducer::~NcclReducer() {
  if (group_.aborted()) nccl_->abort();  // a peer may never come: nothing waits for it
}

void NcclReducer::join(int rank, Replica& replica) {
  Member& m = member(rank);
  m.replica = &dynamic_cast<CudaReplica&>(replica);
  for (std::size_t b = 0; b < buckets_.size(); ++b)
    m.replica->mark_gradients(buckets_[b].first + buckets_[b].count, m.ready[b]);
  if (loss_scaling_) m.replica->set_scale(loss_scaling_->start);
  m.replica->wait_with([this, rank](const cuda::Event& event) {
    struct Pause {  // what is waited for may be another's, and has a deadline of its own
      Watchdog* watchdog;
      int rank;
      ~Pause() {
        if (watchdog != nullptr) watchdog->resume(rank);
      }
    } const pause{watchdog_, rank};
    if (watchdog_ != nullptr) watchdog_->pause(rank);
    wait(rank, event);
  });
}

void NcclReducer::begin(int rank, const StepUpdate& update) {
  member(rank).rule = update.rule;
  member(rank).replica->set_update(update);
}

/// The replicas need not meet on the host: NCCL waits for all of them on the GPUs. They do so nevertheless, because
/// rank 0 reports the losses of all and decides whether to stop.
double NcclReducer::gather(int) {
  const double start = steady_seconds();
  group_.barrier();
  return steady_seconds() - start;
}

GradientReducer::Times NcclReducer::update(int rank, const StepPlan& plan) {
  Times times;
  const double start = steady_seconds();
  Member& m = member(rank);
  ++m.step;
  m.at(m.step).computed = &m.replica->computed();
  if (options_.reproducible)
    reduce_in_order(rank, plan);
  else
    reduce_by_nccl(rank, plan);
  if (m.average.size() != 0)
    cuda::follow(m.replica->constants(), floats_, m.average.floats(), m.parameters.floats(), m.replica->scale(),
                 m.stream.get());
  cuda::Event& updated = m.at(m.step).updated;
  updated.record(m.stream.get());
  updated.make_wait(m.replica->stream());
  m.replica->send_scale();
  group_.barrier([] {});  // the decision of the process's leader is that of all its replicas
  times.end = steady_seconds();
  times.reduce = times.end - start;
  return times;
}

/// This replica's flat buffers from float `first` on.
cuda::Target NcclReducer::target(const Member& m, std::int64_t first) const {
  return {.parameters = m.parameters.floats() + first,
          .state0 = at(m.state[0], first),
          .state1 = at(m.state[1], first),
          .blocks = blocks_at(m.blocks, first),
          .scale = m.replica->scale()};
}

/// The sum of a range, and as much of its update as is possible before the norm of all gradients is known.
void NcclReducer::reduce_range(Member& m, const cuda::SumOrder& order, const nccl::Slice& range) {
  const cudaStream_t stream = m.stream.get();
  if (!needs_mean_) {
    cuda::combine_and_update(cuda::kind_of(m.rule), m.replica->constants(), order, range.count, target(m, range.first),
                             stream);
    return;
  }
  const cuda::Blocks blocks = blocks_at(m.blocks, range.first);
  float* mean = m.mean.floats() + range.first;
  if (!needs_norm_)
    return cuda::mean_of_sums(order, m.replica->constants(), range.count, mean, stream, blocks, m.replica->scale());
  auto* squares = static_cast<double*>(m.chunk_squares.data());
  cuda::mean_and_squares(order, m.replica->constants(), range.count, mean, squares + range.first / kChunk, stream,
                         blocks, m.replica->scale());
}

void NcclReducer::apply_range(Member& m, const nccl::Slice& range) {
  cuda::apply_update(cuda::kind_of(m.rule), m.replica->constants(), m.factor.floats(), range.count,
                     m.mean.floats() + range.first, target(m, range.first), m.stream.get());
}

/// The update of all, once the means are there and what becomes of them is decided.
void NcclReducer::update_tensors(Member& m) {
  m.tensors->enqueue(m.rule, m.replica->constants(), needs_norm_ ? m.factor.floats() : nullptr, m.mean.floats(),
                     target(m, 0));
}

/// The factor of all gradients, and whether they are applied: by each replica for itself, from the same squares.
void NcclReducer::decide(Member& m) {
  const auto* squares = static_cast<const double*>(m.chunk_squares.data());
  if (!loss_scaling_)
    return cuda::norm_to_clip_factor(squares, chunks_, *clip_norm_, m.factor.floats(), m.stream.get());
  cuda::decide_step(squares, chunks_, clip_norm_.value_or(std::numeric_limits<double>::infinity()), loss_scaling_->rule,
                    m.factor.floats(), m.replica->scale(), m.stream.get());
}

bool NcclReducer::finite(int rank, const StepPlan&) {
  return std::isfinite(member(rank).replica->gradient_bound());
}

std::optional<LossScale> NcclReducer::loss_scale() const {
  if (!loss_scaling_) return {};
  const CudaReplica* replica = member(here_.first).replica;
  return replica == nullptr ? loss_scaling_->start : replica->read_scale();
}

void NcclReducer::exchange(int rank, const StepPlan& plan, std::size_t b) {
  Member& m = member(rank);
  const Bucket& bucket = buckets_[b];
  std::vector<nccl::Send> sends;
  std::vector<nccl::Receive> receives;
  const nccl::Slice mine = bucket.slices[static_cast<std::size_t>(rank)];
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank) continue;
    const nccl::Slice theirs = bucket.slices[static_cast<std::size_t>(peer)];
    // Slices may be empty: a small model has fewer chunks than there are replicas.
    for (std::size_t k = 0; theirs.count > 0 && k < plan.programs[static_cast<std::size_t>(rank)].roots.size(); ++k)
      sends.push_back({peer, m.replica->gradients()[k] + theirs.first, theirs.count});
    for (std::size_t k = 0; mine.count > 0 && k < plan.programs[static_cast<std::size_t>(peer)].roots.size(); ++k) {
      float* target = m.received[static_cast<std::size_t>(peer)][k].floats() + m.received_at[b];
      receives.push_back({peer, target, mine.count});
    }
  }
  communicator(rank).exchange(sends, receives, m.stream.get());
  meet_at_first(rank);
}

/// What the driver loads at a kernel's first launch may wait for all kernels of a context, and NCCL's wait for those of
/// other ranks: in the first step nothing is launched behind NCCL's kernels until all of this process are on their way.
void NcclReducer::meet_at_first(int rank) {
  if (member(rank).step == 0) group_.barrier([] {});
}

void NcclReducer::gather_slices(int rank, float* values, std::span<const std::vector<nccl::Slice>> groups) {
  communicator(rank).all_gather(values, groups, member(rank).stream.get());
  meet_at_first(rank);
}

/// The leaves of this replica's slice of bucket b: its own sums where they are, the others' where they were received.
cuda::SumOrder NcclReducer::order(int rank, const StepPlan& plan, std::size_t b) {
  Member& m = member(rank);
  const nccl::Slice mine = buckets_[b].slices[static_cast<std::size_t>(rank)];
  std::vector<std::vector<float*>> places(static_cast<std::size_t>(size_));
  for (std::size_t peer = 0; peer < places.size(); ++peer) {
    for (const Buffer& buffer : m.received[peer]) places[peer].push_back(buffer.floats() + m.received_at[b]);
  }
  for (float* own : m.replica->gradients()) places[static_cast<std::size_t>(rank)].push_back(own + mine.first);
  return sum_order(plan.combine, places, 0);
}

void NcclReducer::reduce_in_order(int rank, const StepPlan& plan) {
  Member& m = member(rank);
  const cudaStream_t stream = m.stream.get();
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    m.ready[b].make_wait(stream);
    exchange(rank, plan, b);
    reduce_range(m, order(rank, plan, b), buckets_[b].slices[static_cast<std::size_t>(rank)]);
    // Where the norm of all gradients is wanted first, the parameters come behind the last bucket.
    if (m.tensors)
      gather_slices(rank, m.mean.floats(), {&buckets_[b].slices, 1});
    else if (!needs_norm_)
      gather_slices(rank, m.parameters.floats(), {&buckets_[b].slices, 1});
    m.at(m.step).reduced[b].record(stream);
  }
  if (needs_norm_) {
    gather_slices(rank, static_cast<float*>(m.chunk_squares.data()), slices_of_squares_);
    decide(m);
  }
  if (m.tensors) return update_tensors(m);
  if (!needs_norm_) return;
  for (const Bucket& bucket : buckets_) apply_range(m, bucket.slices[static_cast<std::size_t>(rank)]);
  gather_slices(rank, m.parameters.floats(), slices_);
}

void NcclReducer::reduce_by_nccl(int rank, const StepPlan& plan) {
  Member& m = member(rank);
  const cudaStream_t stream = m.stream.get();
  const std::vector<float*>& gradients = m.replica->gradients();
  const std::size_t own = plan.programs[static_cast<std::size_t>(rank)].roots.size();
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    const Bucket& bucket = buckets_[b];
    m.ready[b].make_wait(stream);
    float* target = gradients.front() + bucket.first;
    // A replica that idles in a short last step brings zeros, not what its buffer held before.
    if (own == 0) {
      cuda::check(cudaMemsetAsync(target, 0, static_cast<std::size_t>(bucket.count) * sizeof(float), stream),
                  "a gradient buffer could not be cleared");
    }
    for (std::size_t k = 1; k < own; ++k) cuda::add(target, gradients[k] + bucket.first, bucket.count, stream);
    all_reduce(rank, bucket, target);
    cuda::SumOrder one;
    one.leaves[0] = target;
    one.length = 1;
    reduce_range(m, one, {bucket.first, bucket.count});
    m.at(m.step).reduced[b].record(stream);
  }
  if (needs_norm_) decide(m);
  if (m.tensors) return update_tensors(m);
  if (needs_norm_) apply_range(m, {0, floats_});
}

/// What is rounded for the way is this replica's sum; it is updated from in fp32.
void NcclReducer::all_reduce(int rank, const Bucket& bucket, float* values) {
  Member& m = member(rank);
  const cudaStream_t stream = m.stream.get();
  if (options_.communication == Communication::fp32) {
    communicator(rank).all_reduce(values, bucket.count, stream);
    return meet_at_first(rank);
  }
  cuda::pack_bf16(values, bucket.count, m.packed.data(), stream);
  communicator(rank).all_reduce(m.packed.data(), bucket.count, stream, ElementType::bfloat16);
  meet_at_first(rank);
  cuda::unpack_bf16(m.packed.data(), bucket.count, values, stream);
}

}  // namespace dptrain
