#include "comm/processes/peer_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "comm/processes/reach.h"
#include "core/clock.h"

namespace dptrain {

namespace {

constexpr double kTick = 0.2;       // seconds from one sign of life to the next
constexpr double kOwnWords = 0.5;   // that the first process has to fail by itself as another one did: all may have
constexpr double kLastSeconds = 4;  // that a process has to end in order, and MPI at least

/// On standard error, unless nobody reads what is there already: that is no reason to stay. A pipe that takes anything
/// takes 4096 bytes.
void say(const std::string& text) {
  const std::string line = fmt::format("dptrain: {}\n", text.substr(0, PeerLink::kLongestText));
  pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&out, 1, 0) == 1 && out.revents == POLLOUT) (void)!write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

PeerWatch::PeerWatch(Communicator& processes, std::function<void(const News&)> told)
    : members_(processes.members()), rank_(processes.rank()), told_(std::move(told)), parent_(getppid()) {
  // A process that is stopped when its launcher dies is woken by that, and then finds out.
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  links_.resize(rank_ == 0 ? members_.size() : 1);
  for (PeerLink& link : links_) link.heard = steady_seconds();
  links_.front().done = rank_ == 0;  // itself
  try {
    connect(processes);
  } catch (...) {
    stop();
    throw;
  }
}

PeerWatch::~PeerWatch() {
  stop();
}

void PeerWatch::stop() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  eventfd_write(wake_, 1);
  if (thread_.joinable()) thread_.join();
  for (PeerLink& link : links_) link.close();
  close(wake_);
}

void PeerWatch::connect(Communicator& processes) {
  Addresses mine{};
  const int listener = rank_ == 0 ? open_port(mine) : -1;
  if (rank_ == 0) listener_.emplace(listener, PeerToken{mine.token[0], mine.token[1]}, members_.size());
  std::vector<Addresses> all(members_.size());
  processes.all_gather(&mine, sizeof mine, all.data());
  const Addresses& first = all.front();
  token_ = {first.token[0], first.token[1]};
  std::string tried;
  if (rank_ != 0) {
    PeerLink& link = links_.front();
    const bool near = members_.front().host == members_[static_cast<std::size_t>(rank_)].host;
    const auto introduced = [&](int socket) {
      link = {.socket = socket, .heard = steady_seconds()};
      link.send(frame(PeerWord::hello, rank_, 0), "");
      PeerFrame welcome;
      // Only the first process knows what to answer: addresses may be those of other machines here.
      link.confirmed = is_ready(socket, POLLIN, kIntroduction) &&
                       recv(socket, &welcome, sizeof welcome, MSG_WAITALL) == sizeof welcome &&
                       welcome.word == PeerWord::welcome && welcome.token == token_;
      return link.confirmed;
    };
    if (reach(first, near, introduced, tried) < 0) link = {.heard = steady_seconds()};
  }
  const char reached = rank_ == 0 || links_.front().socket >= 0;
  thread_ = std::thread([this] { watch(); });  // from now on links_ are the mutex's
  std::vector<char> everybody(members_.size());
  processes.all_gather(&reached, 1, everybody.data());
  const auto cut_off = std::find(everybody.begin(), everybody.end(), 0) - everybody.begin();
  if (static_cast<std::size_t>(cut_off) == everybody.size()) {
    const std::lock_guard lock(mutex_);
    for (PeerLink& link : links_) link.confirmed = true;  // also of one that has not said anything else yet
    return;
  }
  dptrain::fail(ExitStatus::failed, "{} cannot reach {} over TCP{}", members_[static_cast<std::size_t>(cut_off)].name(),
                members_.front().name(), tried.empty() ? "" : ": tried " + tried);
}

PeerFrame PeerWatch::frame(PeerWord word, int rank, int status) const {
  return {.token = token_, .word = word, .rank = rank, .status = status, .step = step_.load(std::memory_order_relaxed)};
}

void PeerWatch::to_all(PeerWord word, int rank, int status, const std::string& text, int but) {
  for (std::size_t r = 0; r < links_.size(); ++r)
    if (static_cast<int>(r) != but || rank_ != 0) links_[r].send(frame(word, rank, status), text);
}

void PeerWatch::hear(int rank, PeerLink& link) {
  constexpr std::size_t kPiece = 16384;
  const bool speaks = link.hear(
      token_, kPiece, [&](const PeerFrame& frame, const std::string& text) { take(rank, link, frame, text); });
  if (speaks || link.socket < 0) return;
  link.close();
  if (!link.done && link.confirmed) lost(rank, "has gone: its connection is closed");
}

/// The peer may have come by another address before, and gone again.
void PeerWatch::welcome(std::size_t rank, PeerLink link) {
  PeerLink& own = links_[rank];
  own.close();
  own = std::move(link);
  own.send(frame(PeerWord::welcome, 0, 0), "");
}

void PeerWatch::take(int rank, PeerLink& link, const PeerFrame& frame, const std::string& text) {
  link.heard = steady_seconds();
  link.step = frame.step;
  link.confirmed = true;
  if (frame.word == PeerWord::bye) {
    link.done = true;
  } else if (frame.word == PeerWord::failed && rank_ != 0) {
    link.done = true;
    tell(static_cast<ExitStatus>(frame.status), text, false);
  } else if (frame.word == PeerWord::failed) {
    link.done = true;
    if (news_.text.empty()) {
      news_ = {static_cast<ExitStatus>(frame.status),
               fmt::format("{}: {}", members_[static_cast<std::size_t>(rank)].name(), text)};
      told_at_ = -link.heard;  // not told yet
    }
  }
}

void PeerWatch::tell(ExitStatus status, std::string text, bool speaks) {
  if (told_at_ > 0 || failed_ || ending_) return;
  news_ = {status, std::move(text)};
  told_at_ = steady_seconds();
  told_(news_);
  if (speaks) say(news_.text);  // at once: the launcher may end this process as well
}

bool PeerWatch::speaks() const {
  const int first = members_[static_cast<std::size_t>(rank_)].host_first;
  return rank_ == 0 || first == rank_ || (first == 0 && rank_ == 1);
}

void PeerWatch::lost(int rank, const std::string& how) {
  if (told_at_ != 0 || failed_ || ending_) return;
  const Member& peer = members_[static_cast<std::size_t>(rank)];
  // The steps of all are one apart at most, and signs of life are far between.
  const std::int64_t step =
      std::max(links_[rank_ == 0 ? static_cast<std::size_t>(rank) : 0].step, step_.load(std::memory_order_relaxed));
  const std::string where = step < 0 ? "before its first step" : fmt::format("at step {}", step);
  const std::string text = fmt::format("{} {}, {}: the run is given up, with status {}", peer.name(), how, where,
                                       static_cast<int>(ExitStatus::retry));
  const bool is_late = late_ != 0 && steady_seconds() - late_ < kLastSeconds;
  if (rank_ == 0) to_all(PeerWord::failed, rank, static_cast<int>(ExitStatus::retry), text, rank);
  tell(ExitStatus::retry, text, !is_late && speaks());
}

/// What nobody says by himself.
void PeerWatch::look(double now) {
  if (told_at_ < 0 && now + told_at_ > kOwnWords) {
    to_all(PeerWord::failed, 0, static_cast<int>(news_.status), news_.text, 0);
    told_at_ = 0;
    tell(news_.status, news_.text, true);
  }
  if (getppid() != parent_) {
    const std::int64_t step = step_.load(std::memory_order_relaxed);
    tell(ExitStatus::retry,
         fmt::format("the launcher of {} is gone, {}: the run is given up, with status {}",
                     members_[static_cast<std::size_t>(rank_)].name(),
                     step < 0 ? "before the first step" : fmt::format("at step {}", step),
                     static_cast<int>(ExitStatus::retry)),
         rank_ == 0);
  }
  const double deadline = deadline_.load();
  for (std::size_t r = 0; r < links_.size(); ++r) {
    const PeerLink& link = links_[r];
    if (!link.done && now - link.heard > deadline)
      lost(static_cast<int>(r), fmt::format("has been silent for {:.1f} s", now - link.heard));
  }
}

/// After end() the others may go, and nobody is lost. But MPI waits for all of them, for good: also for one that is
/// stopped.
void PeerWatch::look_at_end(double now) {
  const Member& own = members_[static_cast<std::size_t>(rank_)];
  // The first process knows best who it is that is missing; and one at a time, because the launcher ends all after one.
  const double most = std::max(deadline_.load(), kLastSeconds) + kOwnWords * std::min(rank_, 4);
  std::string why;
  if (getppid() != parent_) {
    why = fmt::format("the launcher of {} is gone", own.name());
  } else if (now - ended_at_ > most) {
    why = fmt::format("{} has waited {:.1f} s for the others to end", own.name(), now - ended_at_);
    for (std::size_t r = 0; r < links_.size(); ++r)
      if (links_[r].socket >= 0 && now - links_[r].heard > kLastSeconds / 2)
        why = fmt::format("{} has been silent for {:.1f} s", members_[r].name(), now - links_[r].heard);
  } else {
    return;
  }
  if (speaks()) {
    say(fmt::format("{}, at the end of the run: it is given up, with status {}", why,
                    static_cast<int>(ExitStatus::retry)));
  }
  std::_Exit(static_cast<int>(ExitStatus::retry));
}

/// Whoever goes on after a failure, its own or another's, is ended.
void PeerWatch::end_in_time(double now) {
  if (told_at_ > 0 && now - told_at_ > kLastSeconds) std::_Exit(static_cast<int>(news_.status));
  if (!failed_ || now - failed_at_ <= kLastSeconds) return;
  if (rank_ == 0) say(failure_);  // it has not come to that itself
  std::_Exit(failure_status_);
}

void PeerWatch::watch() {
  std::vector<pollfd> polled;
  std::unique_lock lock(mutex_);
  double before = steady_seconds(), beaten = 0;
  while (!over_) {
    polled = {{.fd = wake_, .events = POLLIN, .revents = 0}};
    if (listener_) listener_->add_to(polled);
    for (const PeerLink& link : links_)
      polled.push_back({.fd = link.socket,
                        .events = static_cast<short>(POLLIN | (link.unsent.empty() ? 0 : POLLOUT)),
                        .revents = 0});
    lock.unlock();
    poll(polled.data(), polled.size(), static_cast<int>(kTick * 1000));
    eventfd_t ignored = 0;
    eventfd_read(wake_, &ignored);
    lock.lock();
    const double now = steady_seconds();
    // Who was late itself was stopped, and has heard nobody meanwhile.
    const double lost_time = now - before - kTick;
    if (lost_time > 1)
      for (PeerLink& link : links_) link.heard += lost_time;
    if (lost_time > 1) late_ = now, ended_at_ += lost_time;
    before = now;
    if (listener_) listener_->look(now, [this](std::size_t rank, PeerLink link) { welcome(rank, std::move(link)); });
    for (std::size_t r = 0; r < links_.size(); ++r) {
      if (links_[r].socket < 0) continue;
      links_[r].send_rest();
      hear(static_cast<int>(r), links_[r]);
    }
    if (now - beaten >= kTick / 2) {
      to_all(PeerWord::beat, rank_, 0, "", 0);
      beaten = now;
    }
    if (!failure_.empty() && !failed_) {
      failed_ = true;
      failed_at_ = now;
      const std::string text = rank_ == 0 ? fmt::format("{}: {}", members_.front().name(), failure_) : failure_;
      if (told_at_ <= 0) to_all(PeerWord::failed, rank_, failure_status_, text, 0);
    }
    if (ending_ && !flushed_) to_all(PeerWord::bye, rank_, 0, "", 0);
    if (rank_ != 0) changed_.notify_all();  // whoever waits for the first process looks again
    if (failed_ || ending_) {
      flushed_ =
          std::all_of(links_.begin(), links_.end(), [](const PeerLink& l) { return l.unsent.empty() || l.socket < 0; });
      if (flushed_) changed_.notify_all();
    }
    if (ending_)
      look_at_end(now);
    else if (!failed_)
      look(now);
    end_in_time(now);
  }
}

void PeerWatch::fail(ExitStatus status, const std::string& text) noexcept {
  std::unique_lock lock(mutex_);
  if (told_at_ > 0 || failed_) return;
  failure_ = text.empty() ? "it has failed" : text;
  failure_status_ = static_cast<int>(status);
  eventfd_write(wake_, 1);
  changed_.wait_for(lock, std::chrono::seconds(1), [this] { return flushed_; });
}

void PeerWatch::let_first_end() noexcept {
  if (rank_ == 0) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(kLastSeconds - 0.5), [this] {
    const PeerLink& first = links_.front();
    return first.socket < 0 || steady_seconds() - first.heard > 1;  // gone, or it is the one that hangs
  });
}

void PeerWatch::end() {
  std::unique_lock lock(mutex_);
  ending_ = true;
  ended_at_ = steady_seconds();
  eventfd_write(wake_, 1);
  changed_.wait_for(lock, std::chrono::seconds(1), [this] { return flushed_; });
}

}  // namespace dptrain
