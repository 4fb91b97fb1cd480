#include "comm/processes/peer_listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "comm/processes/reach.h"

namespace dptrain {

namespace {

constexpr std::size_t kMoreStrangers = 16;  // than there are processes: who is nobody's peer soon goes

}  // namespace

PeerListener::PeerListener(int listener, const PeerToken& token, std::size_t processes)
    : listener_(listener), token_(token), processes_(processes) {}

PeerListener::~PeerListener() {
  for (PeerLink& link : strangers_) link.close();
  close(listener_);
}

void PeerListener::add_to(std::vector<pollfd>& polled) const {
  polled.push_back({.fd = crowded_ ? -1 : listener_, .events = POLLIN, .revents = 0});
  for (const PeerLink& link : strangers_) polled.push_back({.fd = link.socket, .events = POLLIN, .revents = 0});
}

/// So many at a time, and none where there is no descriptor left. The others wait.
void PeerListener::greet(double now) {
  const std::size_t most = processes_ + kMoreStrangers;
  crowded_ = strangers_.size() >= most;
  while (!crowded_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      crowded_ = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
      return;
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    strangers_.push_back({.socket = fd, .heard = now});
    crowded_ = strangers_.size() >= most;
  }
}

void PeerListener::look(double now, const std::function<void(std::size_t rank, PeerLink link)>& introduced) {
  greet(now);
  std::erase_if(strangers_, [&](PeerLink& link) {
    // It has one frame to say who it is, which then may be followed by others.
    const bool speaks = link.hear(
        token_, sizeof(PeerFrame) - link.received.size(), [&](const PeerFrame& frame, const std::string& text) {
          const auto rank = static_cast<std::size_t>(frame.rank);
          if (frame.word != PeerWord::hello || !text.empty() || frame.rank <= 0 || rank >= processes_)
            return link.close();
          link.step = frame.step;
          link.heard = now;
          introduced(rank, std::exchange(link, PeerLink{}));
        });
    if (link.socket < 0) return true;
    if (speaks && now - link.heard <= kIntroduction) return false;
    link.close();
    return true;
  });
}

}  // namespace dptrain
