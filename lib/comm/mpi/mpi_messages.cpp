// The plugin that asks MPI: see comm/messages.h.
#include <mpi.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include "comm/messages.h"
#include "core/error.h"

namespace dptrain {

namespace {

void check(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(result, text, &length);
  fail(ExitStatus::retry, "{}: {}", call, text);
}

/// MPI moves messages only while a thread is in a call of it, and a message may be sent as far as its sender can see
/// while MPI still has the last piece (the system has no room for it just now). If the process then waits for others in
/// another way than MPI's, and they for that message, both wait for ever. So now and then somebody asks MPI for a
/// message that nobody sends, unless somebody is in a call anyway. (Not for any message: Open MPI moves nothing where
/// it has found what it was asked for.)
class Progress {
 public:
  Progress() : thread_([this] { make(); }) {}
  ~Progress() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Somebody is in a call. Who leaves by an exception leaves messages whose memory is no longer MPI's to write to: no
  /// progress is made from then on.
  class Turn {
   public:
    explicit Turn(Progress& progress) : progress_(progress), lock_(progress.calls_) {}
    ~Turn() {
      if (std::uncaught_exceptions() > exceptions_) progress_.forbidden_ = true;
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Progress& progress_;
    const std::lock_guard<std::mutex> lock_;
    const int exceptions_ = std::uncaught_exceptions();
  };

 private:
  void make() {
    constexpr std::chrono::milliseconds kLongest{20};  // that a message stays here
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kLongest, [this] { return over_; })) {
      const std::unique_lock turn(calls_, std::try_to_lock);  // whoever is in a call makes progress
      int found = 0;
      if (turn && !forbidden_) MPI_Iprobe(0, 0, MPI_COMM_SELF, &found, MPI_STATUS_IGNORE);
    }
  }

  std::mutex calls_;
  bool forbidden_ = false;  // by calls_
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

class MpiMessages final : public Messages {
 public:
  explicit MpiMessages(bool share) {
    int provided = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    if (provided < MPI_THREAD_SERIALIZED)
      fail(ExitStatus::usage, "this MPI does not let threads take turns (MPI_THREAD_SERIALIZED)");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Comm_rank(MPI_COMM_WORLD, &launcher_rank_), "MPI_Comm_rank");
    int size = 0;
    check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
    if (share)
      check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, launcher_rank_, MPI_INFO_NULL, &host_),
            "MPI_Comm_split_type");
    else
      check(MPI_Comm_split(MPI_COMM_WORLD, launcher_rank_, 0, &host_), "MPI_Comm_split");
    order(size);
    progress_.emplace();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int launcher_rank() const override { return launcher_rank_; }
  int host_first() const override { return host_first_; }
  int host_size() const override { return host_size_; }

  void all_gather(const void* mine, std::size_t bytes, void* all, const std::function<void()>& idle) override {
    const Progress::Turn turn(*progress_);
    MPI_Request request;
    const int count = static_cast<int>(bytes);
    check(MPI_Iallgather(mine, count, MPI_BYTE, all, count, MPI_BYTE, all_, &request), "MPI_Iallgather");
    wait(std::span(&request, 1), idle);
  }

  void exchange(std::span<const Message> sends, std::span<const Message> receives,
                const std::function<void()>& idle) override {
    constexpr std::size_t kPiece = std::size_t{1} << 30;  // MPI counts in int
    const Progress::Turn turn(*progress_);
    requests_.clear();
    const auto post = [&](const Message& message, auto&& call, const char* name) {
      for (std::size_t done = 0; done < message.count; done += kPiece) {
        const auto count = static_cast<int>(std::min(kPiece, message.count - done));
        check(call(static_cast<std::byte*>(message.bytes) + done, count, message.rank, &requests_.emplace_back()),
              name);
      }
    };
    for (const Message& message : receives)
      post(
          message,
          [this](void* at, int n, int from, MPI_Request* r) { return MPI_Irecv(at, n, MPI_BYTE, from, 0, all_, r); },
          "MPI_Irecv");
    for (const Message& message : sends)
      post(
          message,
          [this](void* at, int n, int to, MPI_Request* r) { return MPI_Isend(at, n, MPI_BYTE, to, 0, all_, r); },
          "MPI_Isend");
    wait(requests_, idle);
  }

  void* share(std::size_t bytes) override {
    constexpr const char* kFolder =
        "/dev/shm";  // where Open MPI puts it; to write past what it holds would be a SIGBUS
    struct statvfs room {};
    if (statvfs(kFolder, &room) == 0 && room.f_bavail * room.f_frsize < bytes) return nullptr;
    const Progress::Turn turn(*progress_);
    MPI_Win window;
    void* base = nullptr;
    check(MPI_Win_allocate_shared(rank_ == host_first_ ? static_cast<MPI_Aint>(bytes) : 0, 1, MPI_INFO_NULL, host_,
                                  &base, &window),
          "MPI_Win_allocate_shared");
    MPI_Aint size = 0;
    int unit = 0;
    check(MPI_Win_shared_query(window, 0, &size, &unit, &base), "MPI_Win_shared_query");
    windows_.push_back(window);
    return base;
  }

  void close() override {
    progress_.reset();
    for (MPI_Win& window : windows_) MPI_Win_free(&window);
    MPI_Comm_free(&all_);
    MPI_Comm_free(&host_);
    MPI_Finalize();
  }

 private:
  /// Ranks of our own, in which the processes of a host follow each other however the launcher has spread them.
  void order(int size) {
    int host = launcher_rank_;
    check(MPI_Bcast(&host, 1, MPI_INT, 0, host_), "MPI_Bcast");
    std::vector<int> hosts(static_cast<std::size_t>(size)), sorted(hosts.size());
    check(MPI_Allgather(&host, 1, MPI_INT, hosts.data(), 1, MPI_INT, MPI_COMM_WORLD), "MPI_Allgather");
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(), [&](int a, int b) {
      return hosts[static_cast<std::size_t>(a)] < hosts[static_cast<std::size_t>(b)];
    });
    const auto mine = static_cast<int>(std::find(sorted.begin(), sorted.end(), launcher_rank_) - sorted.begin());
    check(MPI_Comm_split(MPI_COMM_WORLD, 0, mine, &all_), "MPI_Comm_split");
    check(MPI_Comm_rank(all_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(all_, &size_), "MPI_Comm_size");
    check(MPI_Comm_size(host_, &host_size_), "MPI_Comm_size");
    int place = 0;
    check(MPI_Comm_rank(host_, &place), "MPI_Comm_rank");
    host_first_ = rank_ - place;
  }

  static void wait(std::span<MPI_Request> requests, const std::function<void()>& idle) {
    for (int done = 0;;) {
      check(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
      if (done != 0) return;
      idle();
    }
  }

  MPI_Comm all_ = MPI_COMM_NULL, host_ = MPI_COMM_NULL;
  int launcher_rank_ = 0, rank_ = 0, size_ = 1, host_first_ = 0, host_size_ = 1;
  std::vector<MPI_Request> requests_;
  std::vector<MPI_Win> windows_;
  std::optional<Progress> progress_;
};

}  // namespace

}  // namespace dptrain

extern "C" dptrain::Messages* dptrain_mpi_messages(bool share) {
  return new dptrain::MpiMessages(share);
}
