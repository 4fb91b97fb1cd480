#include "train/cpu/host_sums.h"

#include <algorithm>
#include <cstring>

#include "train/cpu/add_tree.h"

namespace dptrain {

namespace {

constexpr std::int64_t kMostFloats = 1024;  // of a chunk

}  // namespace

HostSums::HostSums(HostGradients& gradients, LocalGroup& group, std::int64_t floats, std::int64_t chunk)
    : group_(group),
      processes_(gradients.processes()),
      pairs_(processes_.members(), processes_.rank()),
      schedule_(gradients.schedule()),
      floats_(floats),
      chunk_(chunk),
      replicas_(gradients.placement().replicas_of(processes_.rank())) {
  DPTRAIN_CHECK(chunk <= kMostFloats, "chunks of {} floats", chunk);
  for (const Range& processes : pairs_.hosts())
    replicas_of_hosts_.push_back(gradients.placement().replicas_of(processes.first, processes.last));
  full_ = make_plan(schedule_.full());
  last_ = make_plan(schedule_.last());
  outgoing_ = Buffer::host_floats(std::max(full_.outgoing, last_.outgoing));
  incoming_ = Buffer::host_floats(std::max(full_.incoming, last_.incoming));
  sums_ = processes_.share(static_cast<std::size_t>(floats) * sizeof(float));
  set_messages(full_);
  set_messages(last_);
  const auto part = [this](int process) {
    const Range chunks = slice(process);
    return std::pair(sums_.floats() + begin(chunks.first), static_cast<std::size_t>(length(chunks)) * sizeof(float));
  };
  for (std::size_t h = 0; h < pairs_.hosts().size(); ++h) {
    if (h == pairs_.own()) continue;
    const auto [mine, bytes] = part(processes_.rank());
    result_sends_.push_back({pairs_.partner(h), mine, bytes});
  }
  for (const int peer : pairs_.peers()) {
    const auto [theirs, bytes] = part(peer);
    result_receives_.push_back({peer, theirs, bytes});
  }
}

Range HostSums::slice(int process) const {
  return share(static_cast<int>((floats_ + chunk_ - 1) / chunk_), processes_.size(), process);
}

HostSums::Plan HostSums::make_plan(const StepPlan& step) const {
  Plan plan;
  const int count = static_cast<int>(step.micro_batches.size());
  std::vector<ReplicaProgram> hosts;
  for (const Range& replicas : replicas_of_hosts_) {
    Range range;  // its micro-batches
    for (int r = replicas.first; r < replicas.last; ++r) {
      for (const Range& root : step.programs[static_cast<std::size_t>(r)].roots) {
        if (range.count() == 0) range.first = root.first;
        range.last = root.last;
      }
    }
    hosts.push_back(replica_program(count, range));
    plan.roots.push_back(static_cast<int>(hosts.back().roots.size()));
  }
  for (const Range& root : hosts[pairs_.own()].roots) plan.own.push_back(combine_program(root, step.programs));
  DPTRAIN_CHECK(plan.own.size() <= kDeepestTree, "{} subtrees on one host", plan.own.size());
  plan.across = combine_program(count, hosts);
  for (const int peer : pairs_.peers()) {
    plan.sent.push_back(plan.outgoing);
    plan.outgoing += plan.roots[pairs_.own()] * length(slice(peer));
  }
  for (std::size_t h = 0; h < pairs_.hosts().size(); ++h) {
    plan.received.push_back(plan.incoming);
    if (h != pairs_.own()) plan.incoming += plan.roots[h] * length(slice(processes_.rank()));
  }
  return plan;
}

void HostSums::set_messages(Plan& plan) {
  const auto message = [](int process, const Buffer& buffer, std::int64_t first, std::int64_t floats) {
    return Message{process, buffer.floats() + first, static_cast<std::size_t>(floats) * sizeof(float)};
  };
  for (std::size_t i = 0; i < pairs_.peers().size(); ++i)
    plan.sends.push_back(message(pairs_.peers()[i], outgoing_, plan.sent[i],
                                 plan.roots[pairs_.own()] * length(slice(pairs_.peers()[i]))));
  for (std::size_t h = 0; h < pairs_.hosts().size(); ++h) {
    if (h == pairs_.own()) continue;
    plan.receives.push_back(
        message(pairs_.partner(h), incoming_, plan.received[h], plan.roots[h] * length(slice(processes_.rank()))));
  }
}

void HostSums::add_own(int rank, const Plan& plan, const Sum& sum) {
  alignas(64) float scratch[kDeepestTree * kMostFloats];
  for (std::size_t i = 0; i < pairs_.peers().size(); ++i) {
    const Range chunks = slice(pairs_.peers()[i]);
    const Range part = share(chunks.count(), replicas_.count(), rank - replicas_.first);
    for (std::size_t k = 0; k < plan.own.size(); ++k) {
      float* out = outgoing_.floats() + plan.sent[i] + static_cast<std::int64_t>(k) * length(chunks);
      for (int c = chunks.first + part.first; c < chunks.first + part.last; ++c) {
        const std::int64_t offset = begin(c), count = begin(c + 1) - offset;
        std::memcpy(out + offset - begin(chunks.first), sum(plan.own[k], offset, count, scratch),
                    static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  }
}

void HostSums::add_all(int rank, const Plan& plan, const Sum& sum) {
  alignas(64) float scratch[kDeepestTree * kMostFloats], own[kDeepestTree * kMostFloats];
  const Range chunks = slice(processes_.rank());
  const Range part = share(chunks.count(), replicas_.count(), rank - replicas_.first);
  for (int c = chunks.first + part.first; c < chunks.first + part.last; ++c) {
    const std::int64_t offset = begin(c), count = begin(c + 1) - offset;
    for (std::size_t k = 0; k < plan.own.size(); ++k)
      std::memcpy(own + static_cast<std::int64_t>(k) * chunk_, sum(plan.own[k], offset, count, scratch),
                  static_cast<std::size_t>(count) * sizeof(float));
    const float* result = add_tree(
        plan.across,
        [&](const CombineProgram::Leaf& leaf) -> const float* {
          const auto h = static_cast<std::size_t>(leaf.replica);
          if (h == pairs_.own()) return own + leaf.buffer * chunk_;
          return incoming_.floats() + plan.received[h] + leaf.buffer * length(chunks) + offset - begin(chunks.first);
        },
        count, chunk_, scratch);
    std::memcpy(sums_.floats() + offset, result, static_cast<std::size_t>(count) * sizeof(float));
  }
}

void HostSums::gather(int rank, const StepPlan& step, const Sum& sum) {
  const Plan& plan = step.samples == schedule_.full().samples ? full_ : last_;
  add_own(rank, plan, sum);
  group_.barrier([&] { processes_.exchange(plan.sends, plan.receives); });
  add_all(rank, plan, sum);
  group_.barrier([&] {
    processes_.exchange(result_sends_, result_receives_);
    processes_.host_barrier();  // what came to the others of this host is there, too
  });
}

}  // namespace dptrain
