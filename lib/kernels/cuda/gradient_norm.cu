// The norm of all gradients, with the means that it is of, and what follows from it: by groups of threads, which read
// memory side by side, and of which one adds up in index order, as the CPU does.
#include <cmath>

#include "core/host_device.h"
#include "device/cuda/runtime.h"
#include "kernels/clip.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/update.h"
#include "kernels/cuda/update_element.h"

namespace dptrain::cuda {
namespace {

/// `count` doubles added in their order, so many of them on their way from memory at a time.
DPTRAIN_HD inline double add_in_order(double sum, const double* values, std::int64_t count) {
  constexpr int kAhead = 16;
  const std::int64_t whole = count / kAhead * kAhead;
  for (std::int64_t k = 0; k < whole; k += kAhead) {
    double ahead[kAhead];
    for (int a = 0; a < kAhead; ++a) ahead[a] = values[k + a];
    for (int a = 0; a < kAhead; ++a) sum += ahead[a];
  }
  for (std::int64_t k = whole; k < count; ++k) sum += values[k];
  return sum;
}

/// The squares of a chunk by all threads of a group, and their sum in index order by the first.
struct ChunkOfSquares {
  static constexpr int kThreads = 256;
  double squares[kNormChunk];

  DPTRAIN_HD void put(int place, float value, bool is_trained) {
    squares[place] = is_trained ? static_cast<double>(value) * static_cast<double>(value) : 0.0;
  }
  DPTRAIN_HD double sum() const { return add_in_order(0, squares, kNormChunk); }
};
static_assert(kNormChunk % ChunkOfSquares::kThreads == 0);

/// The means of a chunk, and the sum of their squares, by a group of threads.
struct MeanAndSquares {
  static constexpr int kThreads = ChunkOfSquares::kThreads, kPhases = 2;
  struct Thread {};
  using Shared = ChunkOfSquares;
  SumOrder order;
  const StepConstants* step;
  float* mean;
  Blocks blocks;
  const LossScale* scale;  // null: gradients are not scaled
  std::int64_t count;
  double* squares;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t chunk, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) {
      for (int place = thread; place < static_cast<int>(kNormChunk); place += kThreads) {
        const std::int64_t i = chunk * kNormChunk + place;
        if (i >= count) {
          shared.put(place, 0, false);
          continue;
        }
        const bool is_trained = block_of(blocks, i).treatment != Treatment::statistic;
        const float sum = ordered_sum(order, i) / step->samples;
        const float value = scale != nullptr && is_trained ? sum / scale->factor : sum;
        mean[i] = value;
        shared.put(place, value, is_trained);
      }
    } else {
      if (thread == 0) squares[chunk] = shared.sum();
    }
  }
};

/// The sum of the chunks' squares in their order, and what is made of it, by the first thread of a group; the others
/// bring it as many of them as they can keep, which are all of a model of four million parameters.
template <class Use>
struct OfAllSquares {
  static constexpr int kThreads = 256, kPhases = 2;
  static constexpr std::int64_t kKept = 4096;
  struct Thread {};
  struct Shared {
    double squares[kKept];
  };
  const double* squares;
  std::int64_t chunks;
  Use use;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t, int thread, Shared& shared, Thread&) const {
    const std::int64_t kept = chunks < kKept ? chunks : kKept;
    if constexpr (phase == 0) {
      for (std::int64_t k = thread; k < kept; k += kThreads) shared.squares[k] = squares[k];
    } else {
      if (thread == 0) use(add_in_order(add_in_order(0, shared.squares, kept), squares + kept, chunks - kept));
    }
  }
};

struct ClipFactor {
  double max_norm;
  float* factor;
  DPTRAIN_HD void operator()(double sum) const { *factor = clip_factor(std::sqrt(sum), max_norm); }
};

struct DecideStep {
  double max_norm;
  LossScaleRule rule;
  float* factor;
  LossScale* scale;
  DPTRAIN_HD void operator()(double sum) const {
    constexpr double kLargest =
        1e300;  // of finite floats the sum is far below, and neither infinity nor NaN is below it
    LossScale state = *scale;
    rule.step(state, sum < kLargest);
    *scale = state;
    *factor = clip_factor(std::sqrt(sum), max_norm);
  }
};

}  // namespace

void mean_and_squares(const SumOrder& order, const StepConstants* step, std::int64_t count, float* mean,
                      double* squares, cudaStream_t stream, Blocks blocks, const LossScale* scale) {
  for_each_group((count + kNormChunk - 1) / kNormChunk, stream,
                 MeanAndSquares{order, step, mean, blocks, scale, count, squares});
}

void norm_to_clip_factor(const double* squares, std::int64_t chunks, double max_norm, float* factor,
                         cudaStream_t stream) {
  for_each_group(1, stream, OfAllSquares<ClipFactor>{squares, chunks, {max_norm, factor}});
}

void decide_step(const double* squares, std::int64_t chunks, double max_norm, const LossScaleRule& rule, float* factor,
                 LossScale* scale, cudaStream_t stream) {
  for_each_group(1, stream, OfAllSquares<DecideStep>{squares, chunks, {max_norm, rule, factor, scale}});
}

}  // namespace dptrain::cuda
