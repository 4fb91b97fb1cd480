// Purpose: what two processes of a job tell each other over a connection of their watch (peer_watch.h), in frames.
// Thread safety: its owner's. Invariants: a frame is taken whole, and only where it carries the job's token.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace dptrain {

using PeerToken = std::array<std::uint64_t, 2>;

enum class PeerWord : std::int32_t { hello = 1, welcome, beat, failed, bye };

struct PeerFrame {
  PeerToken token{};
  PeerWord word{};
  std::int32_t rank = 0, status = 0;
  std::int32_t length = 0;  ///< of the text that follows
  std::int64_t step = -1;   ///< that the sender is at
};

struct PeerLink {
  static constexpr std::size_t kLongestText = 4000;

  int socket = -1;
  std::string received{}, unsent{};
  double heard = 0;        ///< steady_seconds()
  std::int64_t step = -1;  ///< that it was at then
  bool confirmed = false;  ///< both know each other; before that a peer may go, and come by another address
  bool done = false;       ///< it has said that it ends, and may go

  /// Now, or later with send_rest(). The text is cut to what is allowed.
  void send(PeerFrame frame, const std::string& text);
  void send_rest();
  /// Reads some of what is there, `most` bytes, and takes the frames that are whole. False where the peer has gone, or
  /// is none of ours.
  using Take = std::function<void(const PeerFrame& frame, const std::string& text)>;
  bool hear(const PeerToken& token, std::size_t most, const Take& take);
  void close();
};

}  // namespace dptrain
