// Weights and optimizer state of the replicas over NCCL, from and to the host's memory.
#include <algorithm>

#include "core/error.h"
#include "train/cuda/nccl_reducer.h"

namespace dptrain {

void NcclReducer::to_device(int rank, const Buffer& target, const float* from) const {
  cuda::use_device(device(rank));
  cuda::check(cudaMemcpy(target.data(), from, target.size(), cudaMemcpyHostToDevice),
              "the parameters could not be copied to a GPU");
  // A copy from pageable memory returns when it has been read, and replicas' streams do not wait for the default one.
  cuda::check(cudaDeviceSynchronize(), "the parameters could not be copied to a GPU");
  cuda::use_device(device(here_.first));
}

void NcclReducer::from_device(int rank, const float* source, std::int64_t count, float* to) const {
  if (count == 0) return;
  cuda::use_device(device(rank));
  wait(rank, member(rank).latest());  // first: this may be for others
  read_behind(to, source, static_cast<std::size_t>(count) * sizeof(float), member(rank).stream.get());
  cuda::use_device(device(here_.first));
}

void NcclReducer::load(const float* parameters) {
  for (int r = here_.first; r < here_.last; ++r) to_device(r, member(r).parameters, parameters);
}

void NcclReducer::save(float* parameters) const {
  from_device(here_.first, member(here_.first).parameters.floats(), floats_, parameters);
}

void NcclReducer::load_state(int k, const float* state) {
  for (int r = here_.first; r < here_.last; ++r)
    to_device(r, k == state_buffers_ ? member(r).average : member(r).state[k], state);
  if (!gathered_.empty() && k < state_buffers_) gathered_[static_cast<std::size_t>(k)].assign(state, state + floats_);
}

template <class Visit>
void NcclReducer::each_slice(Range replicas, Visit&& visit) const {
  for (const Bucket& bucket : buckets_)
    for (int r = replicas.first; r < replicas.last; ++r) visit(r, bucket.slices[static_cast<std::size_t>(r)]);
}

void NcclReducer::save_state(int k, float* state) const {
  const Member& first = member(here_.first);
  if (k == state_buffers_) return from_device(here_.first, first.average.floats(), floats_, state);
  if (!in_slices_) return from_device(here_.first, first.state[k].floats(), floats_, state);
  // Each replica keeps the state of its slices up to date, and no other.
  if (!gathered_.empty())
    std::copy_n(gathered_[static_cast<std::size_t>(k)].data(), floats_, state);
  else if (is_spread())
    std::fill_n(state, floats_, 0.0f);  // the others' part is nobody's here
  each_slice(here_, [&](int r, const nccl::Slice& part) {
    from_device(r, member(r).state[k].floats() + part.first, part.count, state + part.first);
  });
}

/// Through the host's memory: this is for checkpoints alone.
void NcclReducer::gather_state() {
  if (!is_spread()) return;
  Communicator& processes = *options_.processes;
  for (int r = here_.first; r < here_.last; ++r)
    wait(r, member(r).latest());  // nobody waits for another process's devices
  const auto floats_of = [this](Range replicas) {
    std::int64_t count = 0;
    each_slice(replicas, [&](int, const nccl::Slice& part) { count += part.count; });
    return static_cast<std::size_t>(count);
  };
  for (int k = 0; k < state_buffers_; ++k) {
    if (processes.rank() != 0) {
      std::vector<float> mine(floats_of(here_));
      float* next = mine.data();
      each_slice(here_, [&](int r, const nccl::Slice& part) {
        from_device(r, member(r).state[k].floats() + part.first, part.count, next);
        next += part.count;
      });
      const Message send{0, mine.data(), mine.size() * sizeof(float)};
      processes.exchange(std::span(&send, 1), {});
      continue;
    }
    std::vector<std::vector<float>> theirs(static_cast<std::size_t>(processes.size()));
    std::vector<Message> receives;
    for (int p = 1; p < processes.size(); ++p) {
      std::vector<float>& from = theirs[static_cast<std::size_t>(p)];
      from.resize(floats_of(options_.placement->replicas_of(p)));
      receives.push_back({p, from.data(), from.size() * sizeof(float)});
    }
    processes.exchange({}, receives);
    for (int p = 1; p < processes.size(); ++p) {
      const float* next = theirs[static_cast<std::size_t>(p)].data();
      each_slice(options_.placement->replicas_of(p), [&](int, const nccl::Slice& part) {
        std::copy_n(next, part.count, gathered_[static_cast<std::size_t>(k)].data() + part.first);
        next += part.count;
      });
    }
  }
}

}  // namespace dptrain
