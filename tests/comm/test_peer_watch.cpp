// The watch over other processes, without a launcher: what cannot be reached, strangers at its port, a process that
// does not end.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "comm/processes/peer_watch.h"
#include "comm/processes/reach.h"

using namespace dptrain;

namespace {

/// Processes that are threads, and that can do no more than the watch asks of them.
struct Meeting {
  explicit Meeting(int size) : point(size), members(static_cast<std::size_t>(size), Member{.host = "here"}) {
    for (int r = 0; r < size; ++r) members[static_cast<std::size_t>(r)].launcher_rank = r;
  }
  std::barrier<> point;
  std::vector<Member> members;
  std::vector<char> bytes;
  std::function<void(Addresses&)> change;  // what the first one tells of itself
};

class Thread final : public Communicator {
 public:
  Thread(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  const std::vector<Member>& members() const override { return meeting_.members; }
  void host_barrier() override { meeting_.point.arrive_and_wait(); }
  void all_gather(const void* mine, std::size_t bytes, void* all) override {
    if (rank_ == 0) meeting_.bytes.resize(bytes * meeting_.members.size());
    host_barrier();
    std::memcpy(meeting_.bytes.data() + static_cast<std::size_t>(rank_) * bytes, mine, bytes);
    host_barrier();
    std::memcpy(all, meeting_.bytes.data(), meeting_.bytes.size());
    if (bytes == sizeof(Addresses) && meeting_.change) meeting_.change(*static_cast<Addresses*>(all));
    host_barrier();
  }
  void exchange(std::span<const Message>, std::span<const Message>) override {}
  Buffer share(std::size_t bytes) override { return Buffer::host(bytes); }
  std::vector<std::unique_ptr<Connection>> connections(std::span<const ConnectionEnds>) override { return {}; }
  void set_deadline(double) override {}
  void at_step(std::int64_t) noexcept override {}
  void fail(ExitStatus, const std::string&) noexcept override {}
  void listen(std::function<void(const News&)>) override {}
  const News* news() const override { return nullptr; }
  void let_first_end() noexcept override {}
  void close() override {}

 private:
  Meeting& meeting_;
  const int rank_;
};

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

}  // namespace

TEST_CASE("watch: who cannot reach the first process is named to all, and the watch that has begun ends") {
  constexpr int kProcesses = 3;
  Meeting meeting(kProcesses);
  // A port that is taken, and where nobody listens.
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  socklen_t size = sizeof any;
  REQUIRE(bind(taken, reinterpret_cast<const sockaddr*>(&any), size) == 0);
  REQUIRE(getsockname(taken, reinterpret_cast<sockaddr*>(&any), &size) == 0);
  meeting.change = [port = ntohs(any.sin_port)](Addresses& first) { first.port = port; };
  std::vector<std::string> said(kProcesses);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kProcesses; ++rank) {
    threads.emplace_back([&, rank] {
      Thread process(meeting, rank);
      try {
        const PeerWatch watch(process, [](const News&) {});
      } catch (const Error& error) {
        said[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(taken);
  for (const std::string& text : said)
    CHECK(text.find("rank 1 on here cannot reach rank 0 on here over TCP") != std::string::npos);
  CHECK(said[1].find("tried 127.0.0.1") != std::string::npos);
}

TEST_CASE("watch: strangers are let in up to a number, and who sends no frame of ours is put out") {
  Meeting meeting(1);
  std::uint16_t port = 0;
  meeting.change = [&](Addresses& first) { port = first.port; };
  Thread process(meeting, 0);
  const PeerWatch watch(process, [](const News&) {});
  const std::uint32_t here = htonl(INADDR_LOOPBACK);

  const int silent = connect_to(here, port);
  REQUIRE(silent >= 0);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const int loud = connect_to(here, port);
  REQUIRE(loud >= 0);
  const std::vector<char> noise(1 << 20, 'x');
  (void)::send(loud, noise.data(), noise.size(), MSG_NOSIGNAL);
  // It goes at once, and not when its time to say who it is has passed: that of the other one ends first.
  pollfd both[] = {{.fd = silent, .events = POLLIN, .revents = 0}, {.fd = loud, .events = POLLIN, .revents = 0}};
  CHECK(poll(both, 2, 20000) > 0);
  CHECK(both[1].revents != 0);
  close(silent);
  close(loud);

  constexpr int kMany = 60;
  std::this_thread::sleep_for(std::chrono::seconds(1));  // both are forgotten
  const std::ptrdiff_t before = open_descriptors();
  std::vector<int> many;
  for (int i = 0; i < kMany; ++i) many.push_back(connect_to(here, port));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const std::ptrdiff_t let_in = open_descriptors() - before - kMany;
  CHECK(let_in > 0);
  CHECK(let_in <= 1 + 16);
  for (const int one : many) close(one);
}

TEST_CASE("watch: who has gone before both know each other, and comes again by another address, is not lost") {
  constexpr int kHello = 1, kBye = 5;
  struct Frame {
    std::uint64_t token[2];
    std::int32_t kind, rank, status, length;
    std::int64_t step;
  };
  Meeting meeting(2);
  std::atomic<int> told = 0;
  std::thread first([&] {
    Thread process(meeting, 0);
    PeerWatch watch(process, [&told](const News&) { ++told; });
    process.host_barrier();
    watch.end();
  });
  Thread process(meeting, 1);
  Addresses none{}, all[2];
  process.all_gather(&none, sizeof none, all);
  Frame hello{
      .token = {all[0].token[0], all[0].token[1]}, .kind = kHello, .rank = 1, .status = 0, .length = 0, .step = -1};
  const auto come = [&] {
    const int link = connect_to(htonl(INADDR_LOOPBACK), all[0].port);
    CHECK(::send(link, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello);
    CHECK(is_ready(link, POLLIN, 20));  // it is welcome
    return link;
  };
  close(come());
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const int link = come();
  Frame bye = hello;
  bye.kind = kBye;
  const char reached = 1;
  char everybody[2];
  process.all_gather(&reached, 1, everybody);
  CHECK(told.load() == 0);
  CHECK(::send(link, &bye, sizeof bye, MSG_NOSIGNAL) == sizeof bye);
  process.host_barrier();
  first.join();
  close(link);
}

TEST_CASE("watch: a process that has failed, and does not end, is ended with its status") {
  const pid_t child = fork();
  if (child == 0) {
    Meeting meeting(1);
    Thread process(meeting, 0);
    PeerWatch watch(process, [](const News&) {});
    watch.fail(ExitStatus::data, "it does not end");
    while (true) pause();
  }
  int status = 0;
  for (int tries = 0; waitpid(child, &status, WNOHANG) == 0; ++tries) {
    if (tries == 300) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == static_cast<int>(ExitStatus::data));
}

TEST_CASE("watch: without its launcher a process ends, also where nobody reads what it says") {
  int report[2], full[2];
  REQUIRE(pipe(report) == 0);
  REQUIRE(pipe(full) == 0);
  const pid_t launcher = fork();
  if (launcher == 0) {
    int ready[2];
    if (pipe(ready) != 0) _exit(1);
    if (const pid_t child = fork(); child != 0) {
      char byte = 0;
      (void)!write(report[1], &child, sizeof child);
      _exit(read(ready[0], &byte, 1) == 1 ? 0 : 1);
    }
    fcntl(full[1], F_SETFL, O_NONBLOCK);
    while (write(full[1], "x", 1) == 1) continue;
    fcntl(full[1], F_SETFL, 0);
    dup2(full[1], STDERR_FILENO);
    Meeting meeting(1);
    Thread process(meeting, 0);
    const PeerWatch watch(process, [&](const News&) { (void)!write(report[1], "t", 1); });
    (void)!write(ready[1], "r", 1);
    while (true) pause();
  }
  close(report[1]);
  pid_t child = 0;
  char told = 0, more = 0;
  REQUIRE(read(report[0], &child, sizeof child) == sizeof child);
  REQUIRE(waitpid(launcher, nullptr, 0) == launcher);
  CHECK(is_ready(report[0], POLLIN, 30));
  CHECK(read(report[0], &told, 1) == 1);
  CHECK(told == 't');
  const bool ended = is_ready(report[0], POLLIN, 30);  // its end of the pipe is closed
  CHECK(ended);
  if (ended) CHECK(read(report[0], &more, 1) == 0);
  if (!ended) kill(child, SIGKILL);
  for (const int end : {report[0], full[0], full[1]}) close(end);
}
