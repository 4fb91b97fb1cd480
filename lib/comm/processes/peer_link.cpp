#include "comm/processes/peer_link.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace dptrain {

void PeerLink::send(PeerFrame frame, const std::string& text) {
  if (socket < 0) return;
  constexpr std::size_t kBacklog = 1 << 16;  // a peer that reads nothing gets no more signs of life
  if (frame.word == PeerWord::beat && unsent.size() > kBacklog) return;
  frame.length = static_cast<std::int32_t>(std::min(text.size(), kLongestText));
  unsent.append(reinterpret_cast<const char*>(&frame), sizeof frame);
  unsent.append(text, 0, static_cast<std::size_t>(frame.length));
  send_rest();
}

void PeerLink::send_rest() {
  while (!unsent.empty()) {
    const ssize_t sent = ::send(socket, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;  // later, or never: the reading side finds out
    unsent.erase(0, static_cast<std::size_t>(sent));
  }
}

bool PeerLink::hear(const PeerToken& token, std::size_t most, const Take& take) {
  std::vector<char> piece(most);
  const ssize_t count = recv(socket, piece.data(), most, 0);
  const bool gone = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
  if (count > 0) received.append(piece.data(), static_cast<std::size_t>(count));
  PeerFrame frame;
  while (socket >= 0 && received.size() >= sizeof frame) {
    std::memcpy(&frame, received.data(), sizeof frame);
    if (frame.token != token || frame.length < 0 || static_cast<std::size_t>(frame.length) > kLongestText) return false;
    const std::size_t whole = sizeof frame + static_cast<std::size_t>(frame.length);
    if (received.size() < whole) break;
    const std::string text = received.substr(sizeof frame, static_cast<std::size_t>(frame.length));
    received.erase(0, whole);
    take(frame, text);
  }
  return !gone;
}

void PeerLink::close() {
  if (socket >= 0) ::close(socket);
  socket = -1;
}

}  // namespace dptrain
