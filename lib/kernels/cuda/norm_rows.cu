#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/norm_rows.h"
#include "kernels/cuda/norm_rows_parts.h"
#include "kernels/cuda/vectors.h"

namespace dptrain::cuda {
namespace {

/// Moments of `count` parts as those of all: part(k) is a Pair, a mean and the squared distances to it, of rows(k)
/// values. The mean first, then the distances to it (as in "two-pass"), so that nothing cancels.
template <class Part, class Rows>
DPTRAIN_HD inline Pair combined(int count, const Part& part, const Rows& rows, float& all_rows) {
  float sum = 0;
  all_rows = 0;
  for (int k = 0; k < count; ++k) {
    sum += rows(k) * part(k).first;
    all_rows += rows(k);
  }
  if (all_rows == 0) return {};
  Pair all{sum / all_rows, 0};
  for (int k = 0; k < count; ++k) {
    const Pair one = part(k);
    const float apart = one.first - all.first;
    all.second += one.second + rows(k) * (apart * apart);
  }
  return all;
}

/// Of each span of rows the moments of its channels.
template <class Element, int width>
struct RowMoments {
  static constexpr int kThreads = RowCut::kThreads, kPhases = 3, kLoads = 8;
  struct Thread {};
  struct Shared {
    Kept of_lane[kThreads * width];  // (lanes, strip)
    Kept of_part[kThreads];          // (parts, strip)
    float rows_of_part[kThreads];
  };
  RowCut cut;
  const Element* x;
  Pair* out;  // (spans, channels)

  template <int phase>
  DPTRAIN_HD void run(std::int64_t group, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) measure(group, thread, shared);
    if constexpr (phase == 1) add_lanes(group, thread, shared);
    if constexpr (phase == 2) add_parts(group, thread, shared);
  }

 private:
  DPTRAIN_HD void measure(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Seat seat = cut.seat(group, thread);
    if (!seat.works) return;
    Pair all[width] = {};
    float seen = 0;
    for (std::int64_t row = seat.first; row < seat.last; row += kLoads * cut.lanes) {
      Vector<Element, width> loaded[kLoads] = {};
      int here = 0;
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r >= seat.last) continue;
        loaded[k] = load_vector<width>(x + r * cut.channels + seat.channel);
        here = k + 1;
      }
      const float rows = static_cast<float>(here), one_of = 1.0f / rows, share = rows / (seen + rows);
      DPTRAIN_UNROLLED
      for (int v = 0; v < width; ++v) {
        float sum = 0, squares = 0;
        DPTRAIN_UNROLLED
        for (int k = 0; k < kLoads; ++k) sum += k < here ? wide(loaded[k].of[v]) : 0.0f;
        const float mean = sum * one_of;
        DPTRAIN_UNROLLED
        for (int k = 0; k < kLoads; ++k) {
          const float apart = k < here ? wide(loaded[k].of[v]) - mean : 0.0f;
          squares += apart * apart;
        }
        // Chan, Golub and LeVeque 1979.
        const float apart = mean - all[v].first;
        all[v].first += apart * share;
        all[v].second += squares + apart * apart * (seen * share);
      }
      seen += rows;
    }
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) shared.of_lane[seat.lane * cut.strip() + seat.vector * width + v] = all[v];
  }
  DPTRAIN_HD void add_lanes(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Addition at = cut.addition(thread);
    if (!at.works || cut.channel(group, at.channel) >= cut.channels) return;
    const int span = cut.span_of(group), count = (cut.lanes - at.part + cut.parts - 1) / cut.parts;
    const auto lane = [&](int k) { return at.part + k * cut.parts; };
    const Pair all = combined(
        at.part < cut.lanes ? count : 0,
        [&](int k) -> Pair { return shared.of_lane[lane(k) * cut.strip() + at.channel]; },
        [&](int k) { return static_cast<float>(cut.rows_of_lane(span, lane(k))); }, shared.rows_of_part[thread]);
    shared.of_part[thread] = all;
  }
  DPTRAIN_HD void add_parts(std::int64_t group, int thread, Shared& shared) const {
    if (thread >= cut.strip() || cut.channel(group, thread) >= cut.channels) return;
    float rows = 0;
    out[cut.span_of(group) * cut.channels + cut.channel(group, thread)] = combined(
        cut.parts, [&](int k) -> Pair { return shared.of_part[k * cut.strip() + thread]; },
        [&](int k) { return shared.rows_of_part[k * cut.strip() + thread]; }, rows);
  }
};

/// The moments of all spans together, by every group for its strip, and with them its rows of y.
template <class Element, int width>
struct NormaliseRows {
  static constexpr int kThreads = RowCut::kThreads, kPhases = 3, kLoads = 4;
  struct Thread {};
  struct Shared {
    Kept of_part[kThreads];  // (parts, strip)
    float rows_of_part[kThreads];
    Kept statistics[kThreads];
  };
  RowCut cut;
  NormForward f;
  const Pair* of_spans;  // (spans, channels)
  const Element* x;
  Element* y;
  Pair *moments, *statistics;  // by channel, for backward
  float epsilon;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t group, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) add_spans(group, thread, shared);
    if constexpr (phase == 1) finish(group, thread, shared);
    if constexpr (phase == 2) normalise(group, thread, shared);
  }

 private:
  DPTRAIN_HD void add_spans(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Addition at = cut.addition(thread);
    const int channel = cut.channel(group, at.channel);
    if (!at.works || channel >= cut.channels) return;
    const auto span = [&](int k) { return at.part + k * cut.parts; };
    shared.of_part[thread] = combined(
        at.part < cut.spans ? (cut.spans - at.part + cut.parts - 1) / cut.parts : 0,
        [&](int k) { return of_spans[span(k) * cut.channels + channel]; },
        [&](int k) { return static_cast<float>(cut.rows_of_span(span(k))); }, shared.rows_of_part[thread]);
  }
  DPTRAIN_HD void finish(std::int64_t group, int thread, Shared& shared) const {
    const int channel = cut.channel(group, thread);
    if (thread >= cut.strip() || channel >= cut.channels) return;
    float rows = 0;
    const Pair all = combined(
        cut.parts, [&](int k) -> Pair { return shared.of_part[k * cut.strip() + thread]; },
        [&](int k) { return shared.rows_of_part[k * cut.strip() + thread]; }, rows);
    shared.statistics[thread] = Pair{all.first, 1.0f / std::sqrt(all.second / rows + epsilon)};
    if (cut.span_of(group) != 0) return;
    moments[channel] = all;
    statistics[channel] = shared.statistics[thread];
  }
  DPTRAIN_HD void normalise(std::int64_t group, int thread, const Shared& shared) const {
    const RowCut::Seat seat = cut.seat(group, thread);
    if (!seat.works) return;
    Columns<width> columns;
    columns.load_parameters(f, seat.channel);
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) columns.statistics[v] = shared.statistics[seat.vector * width + v];
    for (std::int64_t row = seat.first; row < seat.last; row += kLoads * cut.lanes) {
      Vector<Element, width> values[kLoads] = {};
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r < seat.last) values[k] = load_vector<width>(x + r * cut.channels + seat.channel);
      }
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r >= seat.last) continue;
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) {
          const float value = columns.value(v, columns.normal(v, wide(values[k].of[v])));
          store(values[k].of[v], f.relu && value < 0.0f ? 0.0f : value);  // NaN stays NaN
        }
        store_vector(y + r * cut.channels + seat.channel, values[k]);
      }
    }
  }
};

}  // namespace

std::int64_t row_norm_scratch_entries(const NormShape& shape) {
  const int wide = kVectorBytes / static_cast<int>(bytes_of(shape.type));
  const int spans = cut_of(shape, 1).spans;
  return shape.channels * (shape.channels % wide == 0 ? std::max(spans, cut_of(shape, wide).spans) : spans);
}

void normalise_rows(const Context& context, const NormForward& forward, float epsilon, const void* x, Pair* scratch,
                    Pair* moments, Pair* statistics, void* y) {
  const NormShape& shape = forward.shape;
  with_element(shape.type, [&]<class Element>(Element) {
    with_width<Element>(
        shape.channels,
        [&](auto chosen) {
          constexpr int width = decltype(chosen)::value;
          const RowCut cut = cut_of(shape, width);
          for_each_group(cut.groups(), context.stream, RowMoments<Element, width>{cut, elements<Element>(x), scratch});
          for_each_group(cut.groups(), context.stream,
                         NormaliseRows<Element, width>{cut, forward, scratch, elements<Element>(x),
                                                       elements<Element>(y), moments, statistics, epsilon});
        },
        elements<Element>(x), elements<Element>(y));
  });
}

}  // namespace dptrain::cuda
