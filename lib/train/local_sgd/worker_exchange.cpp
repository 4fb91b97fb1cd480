#include "train/local_sgd/worker_exchange.h"

#include <algorithm>
#include <cstring>

#include "train/gradient_reducer.h"
#include "train/local_sgd/averaging.h"

namespace dptrain {

namespace {

constexpr std::int64_t kChunk = GradientReducer::kChunk;

}  // namespace

Range workers_of(int workers, int replicas, Range range) {
  return {share(workers, replicas, range.first).first, share(workers, replicas, range.last - 1).last};
}

Range workers_here(int workers, const Placement& placement, const Communicator& processes) {
  return workers_of(workers, placement.replicas, placement.replicas_of_host(processes));
}

WorkerExchange::WorkerExchange(Workers& workers, LocalGroup& group, Communicator& processes, const Placement& placement)
    : workers_(workers),
      group_(group),
      processes_(processes),
      placement_(placement),
      pairs_(processes.members(), processes.rank()),
      replicas_of_host_(placement.replicas_of_host(processes)) {
  for (const Range& host : pairs_.hosts())
    of_hosts_.push_back(workers_of(workers.count(), placement.replicas, placement.replicas_of(host.first, host.last)));
  if (pairs_.hosts().size() == 1) return;
  const std::int64_t elsewhere = workers.count() - workers.here().count();
  incoming_ = Buffer::host_floats(workers.averaged() * elsewhere * length(slice(processes.rank())));
  means_ = processes.share(static_cast<std::size_t>(workers.averaged() * begin(workers.chunks())) * sizeof(float));
  set_messages();
  if (workers.state_rule() != WorkerState::keep || processes.rank() != 0) return;
  guests_.resize(static_cast<std::size_t>(workers.count()));
  for (int w = 0; w < workers.count(); ++w)
    for (int k = 0; !is_here(w) && k < workers.state_buffers(); ++k)
      guests_[static_cast<std::size_t>(w)].push_back(Buffer::host_floats(begin(workers.chunks())));
}

std::int64_t WorkerExchange::begin(int chunk) const {
  return std::min<std::int64_t>(chunk * kChunk, workers_.floats());
}

Range WorkerExchange::slice(int process) const {
  return share(workers_.chunks(), processes_.size(), process);
}

void WorkerExchange::set_messages() {
  const auto message = [this](int process, float* values, int owner) {
    const Range chunks = slice(owner);
    return Message{process, values, static_cast<std::size_t>(length(chunks)) * sizeof(float)};
  };
  const int self = processes_.rank();
  const std::int64_t first = begin(slice(self).first);
  float* incoming = incoming_.floats();
  for (int which = 0; which < workers_.averaged(); ++which) {
    for (const int peer : pairs_.peers()) {
      const std::int64_t offset = begin(slice(peer).first);
      for (int w = workers_.here().first; w < workers_.here().last; ++w)
        sends_.push_back(message(peer, workers_.values(w, which) + offset, peer));
      mean_receives_.push_back(message(peer, mean(which) + offset, peer));
    }
    for (std::size_t h = 0; h < pairs_.hosts().size(); ++h) {
      for (int w = of_hosts_[h].first; w < of_hosts_[h].last; ++w) {
        if (h == pairs_.own()) {
          parts_.push_back(workers_.values(w, which) + first);
          continue;
        }
        receives_.push_back(message(pairs_.partner(h), incoming, self));
        parts_.push_back(incoming);
        incoming += length(slice(self));
      }
      if (h != pairs_.own()) mean_sends_.push_back(message(pairs_.partner(h), mean(which) + first, self));
    }
  }
}

void WorkerExchange::take_mean(Range chunks, std::span<const std::int64_t> samples) {
  const auto count = static_cast<std::size_t>(workers_.count());
  const std::int64_t first = begin(slice(processes_.rank()).first);
  std::vector<const float*> parts(count);
  for (int which = 0; which < workers_.averaged(); ++which) {
    for (std::size_t w = 0; w < count; ++w)
      parts[w] = parts_[static_cast<std::size_t>(which) * count + w] + begin(chunks.first) - first;
    weighted_mean(parts, samples, length(chunks), mean(which) + begin(chunks.first));
  }
}

void WorkerExchange::average(int rank, std::span<const std::int64_t> samples, std::int64_t averages) {
  const Range here = share(workers_.chunks(), replicas_of_host_.count(), rank - replicas_of_host_.first);
  if (pairs_.hosts().size() == 1) {
    workers_.take_average(here, samples, averages);
    return;
  }
  group_.barrier([this] { processes_.exchange(sends_, receives_); });
  const Range own = slice(processes_.rank()), replicas = placement_.replicas_of(processes_.rank());
  const Range part = share(own.count(), replicas.count(), rank - replicas.first);
  take_mean({own.first + part.first, own.first + part.last}, samples);
  group_.barrier([this] {
    processes_.exchange(mean_sends_, mean_receives_);
    processes_.host_barrier();  // what came to the others of this host is there, too
  });
  alignas(64) float mean[kChunk];
  for (int chunk = here.first; chunk < here.last; ++chunk) {
    const std::int64_t offset = begin(chunk), count = begin(chunk + 1) - offset;
    for (int which = 0; which < workers_.averaged(); ++which) {
      std::copy_n(this->mean(which) + offset, count, mean);
      workers_.take(which, offset, {mean, static_cast<std::size_t>(count)}, averages);
    }
  }
}

void WorkerExchange::gather_states() {
  if (workers_.state_rule() != WorkerState::keep || pairs_.hosts().size() == 1) return;
  const std::size_t bytes = static_cast<std::size_t>(workers_.floats()) * sizeof(float);
  std::vector<Message> sends, receives;
  const bool sends_them = pairs_.own() != 0 && processes_.first_of_host();
  for (int w = workers_.here().first; sends_them && w < workers_.here().last; ++w)
    for (int k = 0; k < workers_.state_buffers(); ++k) sends.push_back({0, workers_.state(w, k), bytes});
  for (std::size_t h = 1; processes_.rank() == 0 && h < pairs_.hosts().size(); ++h)
    for (int w = of_hosts_[h].first; w < of_hosts_[h].last; ++w)
      for (const Buffer& state : guests_[static_cast<std::size_t>(w)])
        receives.push_back({pairs_.hosts()[h].first, state.data(), bytes});
  processes_.exchange(sends, receives);
}

void WorkerExchange::load_state(int worker, int k, const float* from) {
  if (is_here(worker))
    workers_.load(workers_.state(worker, k), from);
  else if (!guests_.empty())
    std::copy_n(from, workers_.floats(),
                guests_[static_cast<std::size_t>(worker)][static_cast<std::size_t>(k)].floats());
}

void WorkerExchange::save_state(int worker, int k, float* to) const {
  if (is_here(worker))
    std::copy_n(workers_.state(worker, k), workers_.floats(), to);
  else if (!guests_.empty())
    std::copy_n(guests_[static_cast<std::size_t>(worker)][static_cast<std::size_t>(k)].floats(), workers_.floats(), to);
}

}  // namespace dptrain
