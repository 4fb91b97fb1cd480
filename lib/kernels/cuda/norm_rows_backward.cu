// Batch norm over rows of channels, backward.
#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/norm_rows.h"
#include "kernels/cuda/norm_rows_parts.h"
#include "kernels/cuda/vectors.h"

namespace dptrain::cuda {
namespace {

/// dy in front of the ReLU, and the sums over it.
template <class Element, int width>
struct RowGradientSums {
  static constexpr int kThreads = RowCut::kThreads, kPhases = 3, kLoads = 4;
  struct Thread {};
  struct Shared {
    Kept of_lane[kThreads * width];
    Kept of_part[kThreads];
  };
  RowCut cut;
  NormForward f;
  const Element *x, *dy;
  Pair* out;  // (spans, channels)

  template <int phase>
  DPTRAIN_HD void run(std::int64_t group, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) sum(group, thread, shared);
    if constexpr (phase == 1) add_lanes(group, thread, shared);
    if constexpr (phase == 2) add_parts(group, thread, shared);
  }

 private:
  DPTRAIN_HD void sum(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Seat seat = cut.seat(group, thread);
    if (!seat.works) return;
    Columns<width> columns;
    columns.load_parameters(f, seat.channel);
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) columns.statistics[v] = f.statistics[seat.channel + v];
    Pair all[width] = {};
    for (std::int64_t row = seat.first; row < seat.last; row += kLoads * cut.lanes) {
      Vector<Element, width> values[kLoads] = {}, differences[kLoads] = {};
      bool is_there[kLoads];
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes, place = r * cut.channels + seat.channel;
        is_there[k] = r < seat.last;
        if (!is_there[k]) continue;
        values[k] = load_vector<width>(x + place);
        differences[k] = load_vector<width>(dy + place);
      }
      DPTRAIN_UNROLLED
      for (int v = 0; v < width; ++v) {
        Pair here;
        DPTRAIN_UNROLLED
        for (int k = 0; k < kLoads; ++k) {
          if (!is_there[k]) continue;
          const float normal = columns.normal(v, wide(values[k].of[v]));
          const float d = !f.relu || columns.value(v, normal) > 0.0f ? wide(differences[k].of[v]) : 0.0f;
          here.first += d;
          here.second += d * normal;
        }
        all[v].first += here.first;
        all[v].second += here.second;
      }
    }
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) shared.of_lane[seat.lane * cut.strip() + seat.vector * width + v] = all[v];
  }
  DPTRAIN_HD void add_lanes(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Addition at = cut.addition(thread);
    if (!at.works || cut.channel(group, at.channel) >= cut.channels) return;
    shared.of_part[thread] = added(at.part, cut.lanes, cut.parts,
                                   [&](int lane) -> Pair { return shared.of_lane[lane * cut.strip() + at.channel]; });
  }
  DPTRAIN_HD void add_parts(std::int64_t group, int thread, const Shared& shared) const {
    if (thread >= cut.strip() || cut.channel(group, thread) >= cut.channels) return;
    out[cut.span_of(group) * cut.channels + cut.channel(group, thread)] =
        added(0, cut.parts, 1, [&](int part) -> Pair { return shared.of_part[part * cut.strip() + thread]; });
  }
};

/// The sums of all spans together, by every group for its strip, and with them its rows of dx.
template <class Element, int width>
struct RowBackward {
  static constexpr int kThreads = RowCut::kThreads, kPhases = 3, kLoads = 4;
  struct Thread {};
  struct Shared {
    Kept of_part[kThreads];
    Kept means[kThreads];  // by channel of the strip: of dy, and of dy times what x was normalised to
  };
  RowCut cut;
  NormForward f;
  const Pair *of_spans, *moments;
  const Element *x, *dy;
  Element* dx;  // null: nobody wants it
  RowGradients gradients;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t group, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) add_spans(group, thread, shared);
    if constexpr (phase == 1) finish(group, thread, shared);
    if constexpr (phase == 2) differ(group, thread, shared);
  }

 private:
  DPTRAIN_HD void add_spans(std::int64_t group, int thread, Shared& shared) const {
    const RowCut::Addition at = cut.addition(thread);
    const int channel = cut.channel(group, at.channel);
    if (!at.works || channel >= cut.channels) return;
    shared.of_part[thread] =
        added(at.part, cut.spans, cut.parts, [&](int span) { return of_spans[span * cut.channels + channel]; });
  }
  DPTRAIN_HD void finish(std::int64_t group, int thread, Shared& shared) const {
    const int channel = cut.channel(group, thread);
    if (thread >= cut.strip() || channel >= cut.channels) return;
    const Pair all =
        added(0, cut.parts, 1, [&](int part) -> Pair { return shared.of_part[part * cut.strip() + thread]; });
    const float rows = static_cast<float>(cut.rows);
    shared.means[thread] = Pair{all.first / rows, all.second / rows};
    if (cut.span_of(group) != 0) return;
    const float samples = static_cast<float>(f.shape.samples);
    if (gradients.weight != nullptr) gradients.weight[channel] = all.second;
    if (gradients.bias != nullptr) gradients.bias[channel] = all.first;
    if (gradients.mean != nullptr) gradients.mean[channel] = samples * moments[channel].first;
    if (gradients.variance != nullptr)
      gradients.variance[channel] = samples * (moments[channel].second / (rows - 1.0f));
  }
  DPTRAIN_HD void differ(std::int64_t group, int thread, const Shared& shared) const {
    const RowCut::Seat seat = cut.seat(group, thread);
    if (!seat.works || dx == nullptr) return;
    Columns<width> columns;
    Pair means[width];
    columns.load_parameters(f, seat.channel);
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) {
      columns.statistics[v] = f.statistics[seat.channel + v];
      means[v] = shared.means[seat.vector * width + v];
    }
    for (std::int64_t row = seat.first; row < seat.last; row += kLoads * cut.lanes) {
      Vector<Element, width> values[kLoads] = {},
                             differences[kLoads] = {};  // all are read before dx, which may be dy, is written
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes, place = r * cut.channels + seat.channel;
        if (r >= seat.last) continue;
        values[k] = load_vector<width>(x + place);
        differences[k] = load_vector<width>(dy + place);
      }
      DPTRAIN_UNROLLED
      for (int k = 0; k < kLoads; ++k) {
        const std::int64_t r = row + k * cut.lanes;
        if (r >= seat.last) continue;
        DPTRAIN_UNROLLED
        for (int v = 0; v < width; ++v) {
          const float normal = columns.normal(v, wide(values[k].of[v]));
          const float d = !f.relu || columns.value(v, normal) > 0.0f ? wide(differences[k].of[v]) : 0.0f;
          const float inside = d - (means[v].first + normal * means[v].second);
          store(differences[k].of[v], columns.statistics[v].second * (columns.weight[v] * inside));
        }
        store_vector(dx + r * cut.channels + seat.channel, differences[k]);
      }
    }
  }
};

}  // namespace

void normalise_rows_backward(const Context& context, const NormForward& forward, const Pair* moments, const void* x,
                             const void* dy, Pair* scratch, const RowGradients& gradients, void* dx) {
  const NormShape& shape = forward.shape;
  with_element(shape.type, [&]<class Element>(Element) {
    with_width<Element>(
        shape.channels,
        [&](auto chosen) {
          constexpr int width = decltype(chosen)::value;
          const RowCut cut = cut_of(shape, width);
          for_each_group(
              cut.groups(), context.stream,
              RowGradientSums<Element, width>{cut, forward, elements<Element>(x), elements<Element>(dy), scratch});
          for_each_group(cut.groups(), context.stream,
                         RowBackward<Element, width>{cut, forward, scratch, moments, elements<Element>(x),
                                                     elements<Element>(dy), elements<Element>(dx), gradients});
        },
        elements<Element>(x), elements<Element>(dy), elements<Element>(dx));
  });
}

}  // namespace dptrain::cuda
