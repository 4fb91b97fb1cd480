#include "comm/processes/lines.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "comm/processes/reach.h"
#include "core/clock.h"

namespace dptrain {

Line::Line(int socket) : socket_(socket) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Line::~Line() {
  close(socket_);
}

void Line::send(const void* bytes, std::size_t count) const {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t sent = ::send(socket_, from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) throw LineCut{};
    from += sent;
    count -= static_cast<std::size_t>(sent);
  }
}

void Line::receive(void* bytes, std::size_t count) const {
  auto* to = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t received = recv(socket_, to, count, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) throw LineCut{};
    to += received;
    count -= static_cast<std::size_t>(received);
  }
}

void Line::cut() const noexcept {
  shutdown(socket_, SHUT_RDWR);
}

namespace {

constexpr double kPatience = 30;  // seconds that the first process waits for all the others to come

/// How an end introduces itself, and what it is answered with.
struct Hello {
  std::uint64_t token[2];
  std::int32_t line;
};

bool is_ours(const Hello& hello, const Addresses& first) {
  return std::memcmp(hello.token, first.token, sizeof hello.token) == 0;
}

/// Without waiting for longer than an introduction may take: one that comes in parts is no introduction.
bool hears(int socket, Hello& hello) {
  return is_ready(socket, POLLIN, kIntroduction) && recv(socket, &hello, sizeof hello, MSG_WAITALL) == sizeof hello;
}

using Lines = std::vector<std::unique_ptr<Line>>;

/// The first process's: lets in all that belong here, and nobody else.
void let_in(int listener, const Addresses& mine, std::span<const int> ends, Lines& lines) {
  const auto wanted =
      static_cast<std::size_t>(std::count_if(ends.begin(), ends.end(), [](int process) { return process != 0; }));
  std::size_t come = 0;
  for (const double start = steady_seconds(); come < wanted && steady_seconds() - start < kPatience;) {
    if (!is_ready(listener, POLLIN, 0.2)) continue;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) continue;
    Hello hello{};
    const bool known = hears(fd, hello) && is_ours(hello, mine) && hello.line >= 0 &&
                       static_cast<std::size_t>(hello.line) < ends.size() &&
                       ends[static_cast<std::size_t>(hello.line)] != 0;
    if (!known || ::send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) {
      close(fd);
      continue;
    }
    std::unique_ptr<Line>& line = lines[static_cast<std::size_t>(hello.line)];
    come += line == nullptr ? 1 : 0;  // or it has come by another address
    line = std::make_unique<Line>(fd);
  }
}

/// Where this connection goes to is tried first from now on.
void prefer(Addresses& addresses, int connection) {
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  if (getpeername(connection, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return;
  std::uint32_t* const end = addresses.addresses + addresses.count;
  std::uint32_t* const found = std::find(addresses.addresses, end, peer.sin_addr.s_addr);
  if (found != end) std::swap(*addresses.addresses, *found);
}

}  // namespace

Lines open_lines(Communicator& processes, std::span<const int> ends) {
  const int rank = processes.rank();
  Addresses mine{};
  const int listener = rank == 0 ? open_port(mine) : -1;
  struct Closed {
    int fd;
    ~Closed() {
      if (fd >= 0) close(fd);
    }
  } const closed{listener};
  std::vector<Addresses> all(static_cast<std::size_t>(processes.size()));
  processes.all_gather(&mine, sizeof mine, all.data());
  Addresses first = all.front();
  Lines lines(ends.size());
  std::string tried;
  if (rank == 0) let_in(listener, first, ends, lines);
  for (std::size_t k = 0; rank != 0 && k < ends.size(); ++k) {
    if (ends[k] != rank) continue;
    const Hello hello{.token = {first.token[0], first.token[1]}, .line = static_cast<std::int32_t>(k)};
    const int fd = reach(
        first, processes.members().front().host == processes.self().host,
        [&](int socket) {
          Hello answer{};
          return ::send(socket, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello && hears(socket, answer) &&
                 is_ours(answer, first) && answer.line == hello.line;
        },
        tried);
    if (fd < 0) break;
    prefer(first, fd);
    tried.clear();
    lines[k] = std::make_unique<Line>(fd);
  }
  char reached = 1;
  for (std::size_t k = 0; k < ends.size(); ++k)
    if (ends[k] != 0 && (rank == 0 || ends[k] == rank) && lines[k] == nullptr) reached = 0;
  std::vector<char> everybody(all.size());
  processes.all_gather(&reached, 1, everybody.data());
  // Whoever has not reached the first process knows better than that one, which misses it.
  const auto cut_off = std::find(everybody.rbegin(), everybody.rend(), 0);
  if (cut_off == everybody.rend()) return lines;
  const auto who = static_cast<std::size_t>(everybody.rend() - cut_off - 1);
  dptrain::fail(ExitStatus::failed, "{} {} over TCP{}", processes.members()[who].name(),
                who == 0 ? "is not reached by all others" : "cannot reach " + processes.members().front().name(),
                tried.empty() ? "" : ": tried " + tried);
}

}  // namespace dptrain
