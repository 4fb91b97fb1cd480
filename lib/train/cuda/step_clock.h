// Purpose: what a replica's own work of a step takes its GPU, for `balance: auto`: two timed events around each of its
//   pieces, so that waits for other replicas between them do not count.
// Thread safety: the replica's thread. Invariants: nobody waits for it.
#pragma once

#include <vector>

#include "device/cuda/runtime.h"

namespace dptrain {

class StepClock {
 public:
  /// On the current device.
  explicit StepClock(std::size_t pieces) : pieces_(pieces) {}

  void begin(std::size_t piece, cudaStream_t stream) { pieces_[piece].began.record(stream); }
  void end(std::size_t piece, cudaStream_t stream) { pieces_[piece].ended.record(stream); }
  /// Of all pieces, when the last one is over.
  double seconds() const {
    double sum = 0;
    for (const Piece& piece : pieces_) sum += piece.ended.seconds_since(piece.began);
    return sum;
  }

 private:
  struct Piece {
    cuda::TimedEvent began, ended;
  };
  std::vector<Piece> pieces_;
};

}  // namespace dptrain
