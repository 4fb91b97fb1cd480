// The processes of a job that a launcher has started: memory that those of a host share, messages between hosts.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include "comm/communicator.h"
#include "comm/processes/connections.h"
#include "comm/processes/peer_watch.h"
#include "comm/processes/shared_barrier.h"
#include "core/clock.h"

namespace dptrain {

namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kSlot = 16 << 10;  // bytes that a process gives to the others of its host at a time

std::size_t up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// Where memory of a host cannot be shared (a container with a small /dev/shm), processes of one host can do as if they
/// were on hosts of their own.
bool may_share() {
  const char* setting = std::getenv("DPTRAIN_SHARED_MEMORY");
  if (setting == nullptr || *setting == '\0' || std::strcmp(setting, "on") == 0) return true;
  if (std::strcmp(setting, "off") == 0) return false;
  fail(ExitStatus::usage, "DPTRAIN_SHARED_MEMORY is '{}': expected on or off", setting);
}

class ProcessGroup final : public Communicator {
 public:
  ProcessGroup() : messages_(open_messages(may_share())), rank_(messages_->rank()) {
    meet();
    const auto host = static_cast<std::size_t>(messages_->host_size());
    spins_ = host <= std::thread::hardware_concurrency() ? 2000 : 0;
    control_ = share_bytes(sizeof(SharedBarrier) + 2 * host * kSlot);
    barrier_ = std::launder(reinterpret_cast<SharedBarrier*>(control_));
    slots_ = control_ + sizeof(SharedBarrier);
    host_barrier();  // after the first process has cleared it
    try {
      watch_.emplace(*this, [this](const News& news) { interrupted(news); });
    } catch (const GroupAborted&) {  // another one has gone meanwhile
      throw Error(news_->status, news_->text);
    }
  }

  int rank() const override { return rank_; }
  const std::vector<Member>& members() const override { return members_; }

  void host_barrier() override {
    if (barrier_ == nullptr || !barrier_->wait(messages_->host_size(), spins_, interrupted_)) throw GroupAborted{};
  }

  void all_gather(const void* mine, std::size_t bytes, void* all) override {
    if (messages_->host_size() < size() || barrier_ == nullptr) {
      double start = 0;
      messages_->all_gather(mine, bytes, all, [&] { idle(start); });
      return host_barrier();
    }
    // Through slots in two sets: when a set is written again, all have been at the barrier after they read it.
    const auto* from = static_cast<const std::byte*>(mine);
    auto* to = static_cast<std::byte*>(all);
    for (std::size_t done = 0; done < bytes; done += kSlot, odd_ = !odd_) {
      const std::size_t count = std::min(kSlot, bytes - done);
      std::byte* set = slots_ + (odd_ ? members_.size() * kSlot : 0);
      std::memcpy(set + static_cast<std::size_t>(rank_) * kSlot, from + done, count);
      host_barrier();
      for (std::size_t r = 0; r < members_.size(); ++r) std::memcpy(to + r * bytes + done, set + r * kSlot, count);
    }
  }

  void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    double start = 0;
    messages_->exchange(sends, receives, [&] { idle(start); });
  }

  Buffer share(std::size_t bytes) override {
    std::byte* memory = share_bytes(bytes);
    host_barrier();
    return Buffer::adopt(memory, bytes, [](void*) {});  // the window's, until close()
  }

  std::vector<std::unique_ptr<Connection>> connections(std::span<const ConnectionEnds> ends) override {
    return open_connections(*this, ends);
  }

  void set_deadline(double seconds) override { watch_->set_deadline(seconds); }
  void at_step(std::int64_t step) noexcept override { watch_->at_step(step); }
  void fail(ExitStatus status, const std::string& text) noexcept override {
    watch_->fail(status, text);
    interrupted_.store(true, std::memory_order_release);  // nor does this process wait
  }

  void listen(std::function<void(const News&)> told) override {
    const std::lock_guard lock(mutex_);
    told_ = std::move(told);
    if (told_ && news_) told_(*news_);
  }
  const News* news() const override {
    const std::lock_guard lock(mutex_);
    return news_ ? &*news_ : nullptr;
  }

  void let_first_end() noexcept override { watch_->let_first_end(); }
  void close() override {
    watch_->end();
    messages_->close();
  }

 private:
  struct Card {
    std::int32_t launcher_rank, host_first;
    char host[248];
  };

  void meet() {
    Card mine{.launcher_rank = messages_->launcher_rank(), .host_first = messages_->host_first(), .host = {}};
    gethostname(mine.host, sizeof mine.host - 1);
    std::vector<Card> all(static_cast<std::size_t>(messages_->size()));
    messages_->all_gather(&mine, sizeof mine, all.data(), [] { std::this_thread::yield(); });
    for (const Card& card : all) members_.push_back({card.launcher_rank, card.host_first, card.host});
  }

  std::byte* share_bytes(std::size_t bytes) {
    const std::size_t whole = up(bytes, kLine) + kLine;
    auto* memory = static_cast<std::byte*>(messages_->share(whole));
    if (memory == nullptr) {
      dptrain::fail(ExitStatus::failed,
                    "{} bytes that processes share do not fit in /dev/shm of {}: make that larger, or set "
                    "DPTRAIN_SHARED_MEMORY=off, with which they send each other messages",
                    whole, self().host);
    }
    memory += (kLine - reinterpret_cast<std::uintptr_t>(memory) % kLine) % kLine;  // pages lie alike in all processes
    if (rank_ == messages_->host_first()) std::memset(memory, 0, bytes);
    // MPI has no barrier without waiting at full speed; what follows is rare.
    std::vector<char> all(members_.size());
    const char here = 1;
    messages_->all_gather(&here, 1, all.data(), [] { std::this_thread::yield(); });
    return memory;
  }

  /// Called over and over while a message is on its way: the longer it takes, the less the core is kept busy.
  void idle(double& start) const {
    if (interrupted_.load(std::memory_order_acquire)) throw GroupAborted{};
    const double now = steady_seconds();
    if (start == 0) start = now;
    if (now - start > 0.002)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    else if (spins_ == 0 || now - start > 0.00005)
      std::this_thread::yield();
  }

  void interrupted(const News& news) {
    const std::lock_guard lock(mutex_);
    news_ = news;
    interrupted_.store(true, std::memory_order_release);
    if (told_) told_(news);
  }

  std::unique_ptr<Messages> messages_;
  const int rank_;
  int spins_ = 0;
  std::vector<Member> members_;
  std::byte *control_ = nullptr, *slots_ = nullptr;
  SharedBarrier* barrier_ = nullptr;
  bool odd_ = false;
  std::atomic<bool> interrupted_{false};
  mutable std::mutex mutex_;
  std::function<void(const News&)> told_;
  std::optional<News> news_;
  std::optional<PeerWatch> watch_;  // last: its thread uses the others
};

}  // namespace

std::unique_ptr<Communicator> join_processes() {
  return std::make_unique<ProcessGroup>();
}

}  // namespace dptrain
