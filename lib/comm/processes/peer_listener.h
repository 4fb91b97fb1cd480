// Purpose: the port that the others come to, and who has come and not yet said who it is: anybody can.
// Thread safety: its owner's. Invariants: no more strangers are in than there are peers, and some; each has one frame
//   and a few seconds.
#pragma once

#include <poll.h>

#include <functional>
#include <vector>

#include "comm/processes/peer_link.h"

namespace dptrain {

class PeerListener {
 public:
  /// `listener` is its own from now on. `processes` of the job, this one included.
  PeerListener(int listener, const PeerToken& token, std::size_t processes);
  ~PeerListener();
  PeerListener(const PeerListener&) = delete;
  PeerListener& operator=(const PeerListener&) = delete;

  /// What to wait for.
  void add_to(std::vector<pollfd>& polled) const;
  /// Lets in who has come, and hears them: `introduced(rank, link)` where one is a peer, whose link it is from then on.
  void look(double now, const std::function<void(std::size_t rank, PeerLink link)>& introduced);

 private:
  void greet(double now);

  const int listener_;
  const PeerToken token_;
  const std::size_t processes_;
  std::vector<PeerLink> strangers_;
  bool crowded_ = false;  // no stranger is let in before the next look
};

}  // namespace dptrain
