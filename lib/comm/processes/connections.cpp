#include "comm/processes/connections.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "comm/processes/reach.h"
#include "core/clock.h"

namespace dptrain {

Connection::Connection(int socket) : socket_(socket) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() {
  close(socket_);
}

void Connection::send(const void* bytes, std::size_t count) const {
  const auto* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t sent = ::send(socket_, from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) throw ConnectionLost{};
    from += sent;
    count -= static_cast<std::size_t>(sent);
  }
}

void Connection::receive(void* bytes, std::size_t count) const {
  auto* to = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t received = recv(socket_, to, count, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) throw ConnectionLost{};
    to += received;
    count -= static_cast<std::size_t>(received);
  }
}

void Connection::cut() const noexcept {
  shutdown(socket_, SHUT_RDWR);
}

namespace {

constexpr double kPatience = 30;  // seconds that a process waits for all the others to come

/// How an end introduces itself, and what it is answered with.
struct Hello {
  std::uint64_t token[2];
  std::int32_t connection;
};

bool is_ours(const Hello& hello, const Addresses& addresses) {
  return std::memcmp(hello.token, addresses.token, sizeof hello.token) == 0;
}

/// Without waiting for longer than an introduction may take: one that comes in parts is no introduction.
bool hears(int socket, Hello& hello) {
  return is_ready(socket, POLLIN, kIntroduction) && recv(socket, &hello, sizeof hello, MSG_WAITALL) == sizeof hello;
}

using Connections = std::vector<std::unique_ptr<Connection>>;

bool joins_two(const ConnectionEnds& ends) {
  return ends.listens != ends.opens;
}

/// What this process waits for.
std::size_t awaited(std::span<const ConnectionEnds> ends, int rank) {
  return static_cast<std::size_t>(std::count_if(ends.begin(), ends.end(), [&](const ConnectionEnds& connection) {
    return joins_two(connection) && connection.listens == rank;
  }));
}

/// Lets in all that belong here, and nobody else. What kept somebody out, where that is known.
std::string let_in(int listener, const Addresses& mine, int rank, std::span<const ConnectionEnds> ends,
                   Connections& connections) {
  const std::size_t wanted = awaited(ends, rank);
  std::size_t come = 0;
  for (const double start = steady_seconds(); come < wanted && steady_seconds() - start < kPatience;) {
    if (!is_ready(listener, POLLIN, 0.2)) continue;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
      return fmt::format(": {} connections are too many open files (ulimit -n)", wanted);
    if (fd < 0) continue;
    Hello hello{};
    const bool known = hears(fd, hello) && is_ours(hello, mine) && hello.connection >= 0 &&
                       static_cast<std::size_t>(hello.connection) < ends.size() &&
                       joins_two(ends[static_cast<std::size_t>(hello.connection)]) &&
                       ends[static_cast<std::size_t>(hello.connection)].listens == rank;
    if (!known || ::send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello) {
      close(fd);
      continue;
    }
    std::unique_ptr<Connection>& connection = connections[static_cast<std::size_t>(hello.connection)];
    come += connection == nullptr ? 1 : 0;  // or it has come by another address
    connection = std::make_unique<Connection>(fd);
  }
  return {};
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

/// Connection `number` to who has these addresses; null where there is no way, and `tried` is what was tried.
std::unique_ptr<Connection> open_connection(std::size_t number, Addresses& whom, bool on_this_host,
                                            std::string& tried) {
  const Hello hello{.token = {whom.token[0], whom.token[1]}, .connection = static_cast<std::int32_t>(number)};
  tried.clear();
  const int fd = reach(
      whom, on_this_host,
      [&](int socket) {
        Hello answer{};
        return ::send(socket, &hello, sizeof hello, MSG_NOSIGNAL) == sizeof hello && hears(socket, answer) &&
               is_ours(answer, whom) && answer.connection == hello.connection;
      },
      tried);
  if (fd < 0) return nullptr;
  prefer(whom, fd);
  return std::make_unique<Connection>(fd);
}

/// Whom a process has not reached, or that somebody has not reached it.
struct Missing {
  static constexpr int kNobody = -1, kSomebody = -2;
  int whom = kNobody;
};

/// Errors: failed, in all processes, where one misses a connection. Who has not reached another knows better than who
/// was not reached. `more`: what this one knows of its own.
void check_all_there(Communicator& processes, const Missing& mine, const std::string& more) {
  std::vector<Missing> all(static_cast<std::size_t>(processes.size()));
  processes.all_gather(&mine, sizeof mine, all.data());
  const auto best = std::max_element(all.begin(), all.end(), [](const Missing& a, const Missing& b) {
    const auto knows = [](const Missing& missing) {
      return missing.whom >= 0 ? 2 : missing.whom == Missing::kSomebody ? 1 : 0;
    };
    return knows(a) < knows(b);
  });
  if (best->whom == Missing::kNobody) return;
  const auto name = [&](std::ptrdiff_t rank) { return processes.members()[static_cast<std::size_t>(rank)].name(); };
  dptrain::fail(ExitStatus::failed, "{} {} over TCP{}", name(best - all.begin()),
                best->whom < 0 ? "is not reached by all others" : "cannot reach " + name(best->whom),
                best - all.begin() == processes.rank() ? more : "");
}

}  // namespace

Connections open_connections(Communicator& processes, std::span<const ConnectionEnds> ends) {
  const int rank = processes.rank();
  Addresses mine{};
  struct Listener {
    int fd = -1;
    std::thread thread{};  // it lets others in while this one goes to others, who may do the same
    ~Listener() {
      if (thread.joinable()) thread.join();
      if (fd >= 0) close(fd);
    }
  } listener;
  if (awaited(ends, rank) > 0) listener.fd = open_port(mine);
  std::vector<Addresses> all(static_cast<std::size_t>(processes.size()));
  processes.all_gather(&mine, sizeof mine, all.data());
  Connections connections(ends.size());
  std::string kept_out;
  if (listener.fd >= 0)
    listener.thread = std::thread([&] { kept_out = let_in(listener.fd, mine, rank, ends, connections); });
  Missing missing;
  std::string tried;
  for (std::size_t k = 0; k < ends.size() && missing.whom == Missing::kNobody; ++k) {
    if (!joins_two(ends[k]) || ends[k].opens != rank) continue;
    const auto whom = static_cast<std::size_t>(ends[k].listens);
    connections[k] = open_connection(k, all[whom], processes.members()[whom].host == processes.self().host, tried);
    if (connections[k] == nullptr) missing.whom = ends[k].listens;
  }
  if (listener.thread.joinable()) listener.thread.join();
  for (std::size_t k = 0; k < ends.size(); ++k)
    if (joins_two(ends[k]) && ends[k].listens == rank && connections[k] == nullptr && missing.whom == Missing::kNobody)
      missing.whom = Missing::kSomebody;
  check_all_there(processes, missing, missing.whom >= 0 ? ": tried " + tried : kept_out);
  return connections;
}

}  // namespace dptrain
