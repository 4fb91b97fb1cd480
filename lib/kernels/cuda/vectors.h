// Purpose: neighbouring elements that are read and written as one, 16 bytes at a time where they lie so; and tensors of
//   rows of channels cut for groups of threads. For .cu files alone. Thread safety: pure functions.
// Invariants: rows and channels are fewer than 2^31. The cut depends on the tensor's shape alone, as all tensors of
//   ours begin at multiples of 16 bytes: sums over it have the same bits wherever they are taken.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/host_device.h"

namespace dptrain::cuda {

/// `width` neighbours, at a multiple of their size.
template <class Element, int width>
struct alignas(sizeof(Element) * width) Vector {
  Element of[width];
};

template <int width, class Element>
DPTRAIN_HD inline Vector<Element, width> load_vector(const Element* place) {
  return *reinterpret_cast<const Vector<Element, width>*>(place);
}
template <int width, class Element>
DPTRAIN_HD inline void store_vector(Element* place, const Vector<Element, width>& vector) {
  *reinterpret_cast<Vector<Element, width>*>(place) = vector;
}

constexpr int kVectorBytes = 16;

template <int width>
struct Width {
  static constexpr int value = width;
};

/// use(Width<elements that are read as one>): as many as 16 bytes have where `columns` of them and the tensors at
/// `places` (null: none) begin at multiples of that, else one.
template <class Element, class Use, class... Places>
void with_width(std::int64_t columns, const Use& use, const Places*... places) {
  constexpr int kWide = kVectorBytes / static_cast<int>(sizeof(Element));
  const bool aligned = ((reinterpret_cast<std::uintptr_t>(places) % kVectorBytes == 0) && ...);
  if (aligned && columns % kWide == 0)
    use(Width<kWide>{});
  else
    use(Width<1>{});
}

/// A tensor of rows of channels, cut into strips of channels of 128 bytes at most, and those into spans of rows; one
/// for a group of threads. A group looks at `lanes` rows at a time, and each of its threads at one vector of one of
/// them.
struct RowCut {
  static constexpr int kThreads = 256;
  static constexpr std::int64_t kAtOnce = 8;  ///< rows that a thread has to look at before more groups help
  static constexpr std::int64_t kMostGroups =
      128;  ///< about as many as GPUs have multiprocessors; what they find is added up by each

  std::int64_t rows = 0;
  int channels = 0;
  int span = 0;                ///< rows of a group; the last one of a strip may have fewer
  int width = 1, vectors = 1;  ///< channels of a vector; vectors of a strip
  int lanes = 1, strips = 1, spans = 1;
  int parts = 1;  ///< in how many parts threads add up what as many channels of a strip have

  RowCut() = default;
  RowCut(std::int64_t all_rows, std::int64_t all_channels, int vector_width, int element_bytes)
      : rows(all_rows), channels(static_cast<int>(all_channels)), width(vector_width) {
    const std::int64_t across = channels / width, most = std::max(1, 128 / (width * element_bytes));
    const std::int64_t cuts = (across + most - 1) / most;
    vectors = static_cast<int>((across + cuts - 1) / cuts);
    strips = static_cast<int>((across + vectors - 1) / vectors);
    lanes = kThreads / vectors;
    parts = kThreads / strip();
    const std::int64_t turns = (rows + lanes - 1) / lanes;  // of all lanes
    const std::int64_t most_spans = std::max<std::int64_t>(1, kMostGroups / strips);
    const std::int64_t wanted = std::min((turns + kAtOnce - 1) / kAtOnce, most_spans);
    span = static_cast<int>((turns + wanted - 1) / wanted * lanes);
    spans = static_cast<int>((rows + span - 1) / span);
  }

  std::int64_t groups() const { return std::int64_t{spans} * strips; }
  DPTRAIN_HD int strip() const { return vectors * width; }  ///< channels of one

  DPTRAIN_HD int strip_of(std::int64_t group) const { return static_cast<int>(group) % strips; }
  DPTRAIN_HD int span_of(std::int64_t group) const { return static_cast<int>(group) / strips; }
  DPTRAIN_HD int rows_of_span(int k) const {
    const std::int64_t left = rows - std::int64_t{k} * span;
    return left < span ? static_cast<int>(left) : span;
  }
  /// How many rows of a span's lane k looks at.
  DPTRAIN_HD int rows_of_lane(int of_span, int k) const {
    const int of = rows_of_span(of_span);
    return of > k ? (of - k + lanes - 1) / lanes : 0;
  }

  /// Where a thread of a group is at work.
  struct Seat {
    int lane, vector;          ///< within the group
    bool works;                ///< threads that are left over, and vectors behind the last one, do not
    int channel;               ///< the first of its vector
    std::int64_t first, last;  ///< rows, every lanes-th of them
  };
  DPTRAIN_HD Seat seat(std::int64_t group, int thread) const {
    Seat s{};
    s.lane = thread / vectors;
    s.vector = thread % vectors;
    s.channel = (strip_of(group) * vectors + s.vector) * width;
    s.works = s.lane < lanes && s.channel < channels;
    const int k = span_of(group);
    s.first = std::int64_t{k} * span + s.lane;
    s.last = std::int64_t{k} * span + rows_of_span(k);
    return s;
  }

  /// Which channel of its strip a thread adds up, and which part of it.
  struct Addition {
    int channel, part;
    bool works;
  };
  DPTRAIN_HD Addition addition(int thread) const {
    return {thread % strip(), thread / strip(), thread < strip() * parts};
  }
  /// A strip's channel among all; channels or more: there is none.
  DPTRAIN_HD int channel(std::int64_t group, int of_strip) const { return strip_of(group) * strip() + of_strip; }
};

}  // namespace dptrain::cuda
