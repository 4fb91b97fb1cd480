#include "comm/processes/reach.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace dptrain {

std::string text_of(std::uint32_t address) {
  char text[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &address, text, sizeof text);
  return text;
}

void find_addresses(Addresses& found) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return;
  for (const ifaddrs* at = all; at != nullptr && found.count < kMostAddresses; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_UP) == 0 ||
        (at->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    found.addresses[found.count++] = reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr.s_addr;
  }
  freeifaddrs(all);
}

bool is_ready(int socket, short events, double seconds) {
  pollfd one{.fd = socket, .events = events, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&one, 1, static_cast<int>(seconds * 1000));
  } while (ready < 0 && errno == EINTR);
  return ready == 1;
}

int open_socket() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail(ExitStatus::failed, "no socket for connections between processes: {}", std::strerror(errno));
  return fd;
}

int connect_to(std::uint32_t address, std::uint16_t port) {
  const int fd = open_socket();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = address;
  int error = 0;
  socklen_t size = sizeof error;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ||
      (errno == EINPROGRESS && is_ready(fd, POLLOUT, kIntroduction) &&
       getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0))
    return fd;
  close(fd);
  return -1;
}

int open_port(Addresses& mine) {
  if (getrandom(mine.token, sizeof mine.token, 0) != sizeof mine.token)
    fail(ExitStatus::failed, "no random numbers for connections between processes: {}", std::strerror(errno));
  const int listener = open_socket();
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t size = sizeof any;
  if (bind(listener, reinterpret_cast<const sockaddr*>(&any), size) != 0 || listen(listener, 4096) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&any), &size) != 0) {
    close(listener);
    fail(ExitStatus::failed, "no port for connections between processes: {}", std::strerror(errno));
  }
  mine.port = ntohs(any.sin_port);
  find_addresses(mine);
  return listener;
}

int reach(const Addresses& whom, bool on_this_host, const std::function<bool(int socket)>& introduced,
          std::string& tried) {
  std::vector<std::uint32_t> addresses(whom.addresses, whom.addresses + whom.count);
  if (on_this_host) addresses.insert(addresses.begin(), htonl(INADDR_LOOPBACK));
  for (const std::uint32_t address : addresses) {
    tried += (tried.empty() ? "" : ", ") + text_of(address);
    const int fd = connect_to(address, whom.port);
    if (fd < 0) continue;
    if (introduced(fd)) return fd;
    close(fd);
  }
  return -1;
}

}  // namespace dptrain
