#include <algorithm>

#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/row_sums.h"
#include "kernels/cuda/vectors.h"

namespace dptrain::cuda {
namespace {

template <class Element, int width>
struct RowSums {
  static constexpr int kThreads = RowCut::kThreads, kPhases = 5, kLast = 3, kLoads = 8;
  struct Thread {};
  struct Shared {
    float of_lane[kThreads * width];  // (lanes, strip)
    float of_part[kThreads];          // (parts, strip)
  };
  RowCut cut;
  const Element* matrix;
  float *of_spans, *sums;  // (spans, columns); (columns)

  DPTRAIN_HD unsigned sharers() const { return static_cast<unsigned>(cut.spans); }
  DPTRAIN_HD int counter_of(std::int64_t group) const { return cut.strip_of(group); }

  template <int phase>
  DPTRAIN_HD void run(std::int64_t group, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) sum(group, thread, shared);
    if constexpr (phase == 1) {
      add(group, thread, shared, cut.lanes,
          [&](int lane, int of_strip, int) { return shared.of_lane[lane * cut.strip() + of_strip]; });
    }
    if constexpr (phase == 2) finish(group, thread, shared, of_spans + cut.span_of(group) * cut.channels);
    if constexpr (phase == kLast) {
      add(group, thread, shared, cut.spans,
          [&](int span, int, int column) { return of_spans[span * cut.channels + column]; });
    }
    if constexpr (phase == kLast + 1) finish(group, thread, shared, sums);
  }

 private:
  DPTRAIN_HD void sum(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Seat seat = cut.seat(group, thread);
    if (!seat.works) return;
    float all[width] = {};
    for (std::int64_t row = seat.first; row < seat.last; row += kLoads * cut.lanes) {
      Vector<Element, width> values[kLoads] = {};
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r < seat.last) values[k] = load_vector<width>(matrix + r * cut.channels + seat.channel);
      }
      float here[width] = {};
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r >= seat.last) continue;
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) here[v] += wide(values[k].of[v]);
      }
      DPTRAIN_UNROLLED
      for (int v = 0; v < width; ++v) all[v] += here[v];
    }
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) shared.of_lane[seat.lane * cut.strip() + seat.vector * width + v] = all[v];
  }
  /// Of `count` entries every parts-th to each part: entry(k, channel of the strip, column).
  template <class Entry>
  DPTRAIN_HD void add(std::int64_t group, int thread, Shared& shared, int count, const Entry& entry) const {
    const RowCut::Addition at = cut.addition(thread);
    const int column = cut.channel(group, at.channel);
    if (!at.works || column >= cut.channels) return;
    float all = 0;
    for (int k = at.part; k < count; k += cut.parts) all += entry(k, at.channel, column);
    shared.of_part[thread] = all;
  }
  DPTRAIN_HD void finish(std::int64_t group, int thread, const Shared& shared, float* to) const {
    const int column = cut.channel(group, thread);
    if (thread >= cut.strip() || column >= cut.channels) return;
    float all = 0;
    for (int part = 0; part < cut.parts; ++part) all += shared.of_part[part * cut.strip() + thread];
    to[column] = all;
  }
};

/// The counters lie first, at a place that does not depend on the number of rows.
std::int64_t counters_bytes(std::int64_t columns) {
  return (columns * std::int64_t{sizeof(unsigned)} + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
}

}  // namespace

void sum_rows(const Context& context, ElementType type, const void* matrix, std::int64_t rows, std::int64_t columns,
              void* scratch, float* sums) {
  with_element(type, [&]<class Element>(Element) {
    with_width<Element>(
        columns,
        [&](auto chosen) {
          constexpr int width = decltype(chosen)::value;
          const RowCut cut(rows, columns, width, sizeof(Element));
          auto* of_spans = reinterpret_cast<float*>(static_cast<char*>(scratch) + counters_bytes(columns));
          const RowSums<Element, width> body{cut, elements<Element>(matrix), of_spans, sums};
          if (cut.spans == 1)
            for_each_group(cut.groups(), context.stream, body);
          else
            for_each_group_and_last(cut.groups(), context.stream, body, static_cast<unsigned*>(scratch));
        },
        elements<Element>(matrix));
  });
}

std::int64_t sum_rows_scratch_bytes(ElementType type, std::int64_t rows, std::int64_t columns) {
  const int bytes = static_cast<int>(bytes_of(type)), wide = kVectorBytes / bytes;
  int spans = RowCut(rows, columns, 1, bytes).spans;
  if (columns % wide == 0) spans = std::max(spans, RowCut(rows, columns, wide, bytes).spans);
  return counters_bytes(columns) + spans * columns * std::int64_t{sizeof(float)};
}

}  // namespace dptrain::cuda
