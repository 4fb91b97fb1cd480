#include "comm/processes/peer_watch.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "comm/processes/reach.h"
#include "core/clock.h"

namespace dptrain {

namespace {

constexpr double kTick = 0.2;       // seconds from one sign of life to the next
constexpr double kOwnWords = 0.5;   // that the first process has to fail by itself as another one did: all may have
constexpr double kLastSeconds = 4;  // that a process has to end in order, and MPI at least
constexpr std::size_t kLongestText = 4000;
constexpr std::size_t kMoreStrangers = 16;  // than there are processes: who is nobody's peer soon goes

enum Kind : int { kHello = 1, kWelcome, kBeat, kFailed, kBye };

/// On standard error, unless nobody reads what is there already: that is no reason to stay. A pipe that takes anything takes 4096
/// bytes.
void say(const std::string& text) {
  const std::string line = fmt::format("dptrain: {}\n", text.substr(0, kLongestText));
  pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&out, 1, 0) == 1 && out.revents == POLLOUT) (void)!write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

struct PeerWatch::Frame {
  std::uint64_t token[2];
  std::int32_t kind, rank, status, length;  // length: of the text that follows
  std::int64_t step;
};

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
  for (const auto* list : {&links_, &strangers_})
    for (const PeerLink& link : *list)
      if (link.socket >= 0) close(link.socket);
  if (listener_ >= 0) close(listener_);
  close(wake_);
}

void PeerWatch::connect(Communicator& processes) {
  Addresses mine{};
  if (rank_ == 0) {
    if (getrandom(mine.token, sizeof mine.token, 0) != sizeof mine.token)
      dptrain::fail(ExitStatus::failed, "no random numbers for the watch over other processes: {}",
                    std::strerror(errno));
    listener_ = open_socket();
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof any;
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&any), size) != 0 || listen(listener_, 4096) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&any), &size) != 0)
      dptrain::fail(ExitStatus::failed, "no port for the watch over other processes: {}", std::strerror(errno));
    mine.port = ntohs(any.sin_port);
    find_addresses(mine);
  }
  std::vector<Addresses> all(members_.size());
  processes.all_gather(&mine, sizeof mine, all.data());
  const Addresses& first = all.front();
  std::memcpy(token_, first.token, sizeof token_);
  std::string tried;
  if (rank_ != 0) {
    std::vector<std::uint32_t> addresses(first.addresses, first.addresses + first.count);
    if (members_.front().host == members_[static_cast<std::size_t>(rank_)].host)
      addresses.insert(addresses.begin(), htonl(INADDR_LOOPBACK));
    PeerLink& link = links_.front();
    for (const std::uint32_t address : addresses) {
      tried += (tried.empty() ? "" : ", ") + text_of(address);
      const int fd = connect_to(address, first.port);
      if (fd < 0) continue;
      link.socket = fd;
      send(link, kHello, rank_, 0, "");
      Frame welcome{};
      // Only the first process knows what to answer: addresses may be those of other machines here.
      if (is_ready(fd, POLLIN, kIntroduction) && recv(fd, &welcome, sizeof welcome, MSG_WAITALL) == sizeof welcome &&
          welcome.kind == kWelcome && std::memcmp(welcome.token, token_, sizeof token_) == 0) {
        link.confirmed = true;
        break;
      }
      close(fd);
      link = {.heard = steady_seconds()};
    }
  }
  const char reached = rank_ == 0 || links_.front().socket >= 0;
  thread_ = std::thread([this] { watch(); });  // from now on links_ are the mutex's
  std::vector<char> everybody(members_.size());
  processes.all_gather(&reached, 1, everybody.data());
  const auto cut_off = std::find(everybody.begin(), everybody.end(), 0) - everybody.begin();
  if (static_cast<std::size_t>(cut_off) == everybody.size()) return;
  dptrain::fail(ExitStatus::failed, "{} cannot reach {} over TCP{}", members_[static_cast<std::size_t>(cut_off)].name(),
                members_.front().name(), tried.empty() ? "" : ": tried " + tried);
}

void PeerWatch::send(PeerLink& link, int kind, int rank, int status, const std::string& text) {
  Frame frame{.token = {token_[0], token_[1]},
              .kind = kind,
              .rank = rank,
              .status = status,
              .length = static_cast<std::int32_t>(std::min(text.size(), kLongestText)),
              .step = step_.load(std::memory_order_relaxed)};
  if (link.socket < 0) return;
  constexpr std::size_t kBacklog = 1 << 16;  // a peer that reads nothing gets no more signs of life
  if (kind == kBeat && link.unsent.size() > kBacklog) return;
  link.unsent.append(reinterpret_cast<const char*>(&frame), sizeof frame);
  link.unsent.append(text, 0, static_cast<std::size_t>(frame.length));
  send_rest(link);
}

void PeerWatch::send_rest(PeerLink& link) {
  while (!link.unsent.empty()) {
    const ssize_t sent = ::send(link.socket, link.unsent.data(), link.unsent.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // later, or never: the reading side finds out
    link.unsent.erase(0, static_cast<std::size_t>(sent));
  }
}

void PeerWatch::to_all(int kind, int rank, int status, const std::string& text, int but) {
  for (std::size_t r = 0; r < links_.size(); ++r)
    if (static_cast<int>(r) != but || rank_ != 0) send(links_[r], kind, rank, status, text);
}

/// Anybody can come to the port: so many at a time, and none where there is no descriptor left. The others wait.
void PeerWatch::greet() {
  const std::size_t most = members_.size() + kMoreStrangers;
  crowded_ = strangers_.size() >= most;
  while (!crowded_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      crowded_ = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
      return;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    strangers_.push_back({.socket = fd, .heard = steady_seconds()});
    crowded_ = strangers_.size() >= most;
  }
}

/// Reads some of what is there, and takes the frames that are whole. `rank`: whose link it is; -1: a stranger's, who has one frame
/// to say who it is.
void PeerWatch::hear(int rank, PeerLink& link) {
  char piece[16384];
  const std::size_t most = rank < 0 ? sizeof(Frame) - link.received.size() : sizeof piece;
  const ssize_t count = recv(link.socket, piece, most, 0);
  bool gone = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
  if (count > 0) link.received.append(piece, static_cast<std::size_t>(count));
  Frame frame;
  while (link.socket >= 0 && link.received.size() >= sizeof frame) {
    std::memcpy(&frame, link.received.data(), sizeof frame);
    if (std::memcmp(frame.token, token_, sizeof token_) != 0 || frame.length < 0 ||
        static_cast<std::size_t>(frame.length) > kLongestText) {
      gone = true;  // no peer of ours
      break;
    }
    const std::size_t whole = sizeof frame + static_cast<std::size_t>(frame.length);
    if (rank < 0 && !introduces(frame)) {
      gone = true;
      break;
    }
    if (link.received.size() < whole) break;
    const std::string text = link.received.substr(sizeof frame, static_cast<std::size_t>(frame.length));
    link.received.erase(0, whole);
    take(rank, link, frame, text);
  }
  if (!gone || link.socket < 0) return;
  close(link.socket);
  link.socket = -1;
  if (rank >= 0 && !link.done && link.confirmed) lost(rank, "has gone: its connection is closed");
}

/// Whether a stranger is one of the others.
bool PeerWatch::introduces(const Frame& frame) const {
  return frame.kind == kHello && frame.length == 0 && frame.rank > 0 &&
         static_cast<std::size_t>(frame.rank) < links_.size();
}

void PeerWatch::take(int rank, PeerLink& link, const Frame& frame, const std::string& text) {
  link.heard = steady_seconds();
  link.step = frame.step;
  if (rank < 0) {
    PeerLink& own = links_[static_cast<std::size_t>(frame.rank)];
    if (own.socket >= 0) close(own.socket);  // it has come by another address, and gone again
    own = std::move(link);
    link.socket = -1;
    send(own, kWelcome, 0, 0, "");
    return;
  }
  link.confirmed = true;
  if (frame.kind == kBye) {
    link.done = true;
  } else if (frame.kind == kFailed && rank_ != 0) {
    link.done = true;
    tell(static_cast<ExitStatus>(frame.status), text, false);
  } else if (frame.kind == kFailed) {
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
  if (rank_ == 0) to_all(kFailed, rank, static_cast<int>(ExitStatus::retry), text, rank);
  tell(ExitStatus::retry, text, !is_late && speaks());
}

/// What nobody says by himself.
void PeerWatch::look(double now) {
  if (told_at_ < 0 && now + told_at_ > kOwnWords) {
    to_all(kFailed, 0, static_cast<int>(news_.status), news_.text, 0);
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

/// After end() the others may go, and nobody is lost. But MPI waits for all of them, for good: also for one that is stopped.
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
    polled = {{.fd = wake_, .events = POLLIN, .revents = 0},
              {.fd = crowded_ ? -1 : listener_, .events = POLLIN, .revents = 0}};
    for (const auto* list : {&links_, &strangers_}) {
      for (const PeerLink& link : *list)
        polled.push_back({.fd = link.socket,
                          .events = static_cast<short>(POLLIN | (link.unsent.empty() ? 0 : POLLOUT)),
                          .revents = 0});
    }
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
    if (listener_ >= 0) greet();
    for (PeerLink& link : strangers_)
      if (link.socket >= 0) hear(-1, link);
    std::erase_if(strangers_, [&](PeerLink& link) {
      const bool over = link.socket < 0 || now - link.heard > kIntroduction;
      if (over && link.socket >= 0) close(link.socket);
      return over;
    });
    for (std::size_t r = 0; r < links_.size(); ++r) {
      if (links_[r].socket < 0) continue;
      send_rest(links_[r]);
      hear(static_cast<int>(r), links_[r]);
    }
    if (now - beaten >= kTick / 2) {
      to_all(kBeat, rank_, 0, "", 0);
      beaten = now;
    }
    if (!failure_.empty() && !failed_) {
      failed_ = true;
      failed_at_ = now;
      const std::string text = rank_ == 0 ? fmt::format("{}: {}", members_.front().name(), failure_) : failure_;
      if (told_at_ <= 0) to_all(kFailed, rank_, failure_status_, text, 0);
    }
    if (ending_ && !flushed_) to_all(kBye, rank_, 0, "", 0);
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
