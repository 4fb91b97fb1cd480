// Events: what streams and the host wait for, and what tells the time.
#include <algorithm>

#include "support/fake_cuda/state.h"

using namespace fake_cuda;

namespace {

void require_untimed(const CUevent_st& event) {
  if (event.is_timed) misuse("a wait for an event without cudaEventDisableTiming: such waits are slower");
}

}  // namespace

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  const Lock lock = lock_state();
  if (state().devices == 0) return done_with(cudaErrorNoDevice);
  auto made = std::make_unique<CUevent_st>();
  made->device = current_device();
  made->is_timed = (flags & cudaEventDisableTiming) == 0;
  if (made->is_timed) ++state().counters.timed_events;
  *event = made.get();
  state().events.emplace(*event, std::move(made));
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock = lock_state();
  event_of(event);
  state().events.erase(event);
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock = lock_state();
  CUstream_st& source = stream_of(stream);
  CUevent_st& target = event_of(event);
  if (source.device != target.device) return done_with(cudaErrorInvalidResourceHandle);
  if (source.capture) {
    target.capture = source.capture;
    target.tips = source.tips;
    target.record.reset();
    return cudaSuccess;
  }
  target.capture.reset();
  target.record = std::make_shared<Record>();
  add(source, [record = target.record] { reach(*record); });
  return cudaSuccess;
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned int flags) {
  const Lock lock = lock_state();
  if (flags != cudaEventRecordExternal) misuse("flags of cudaEventRecordWithFlags: cudaEventRecord() has none");
  CUstream_st& source = stream_of(stream);
  if (!source.capture) misuse("cudaEventRecordExternal on a stream that is not captured: CUDA refuses it");
  if (source.device != event_of(event).device) return done_with(cudaErrorInvalidResourceHandle);
  add(source, [] {});
  source.capture->nodes.back().records = event;
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  const Lock lock = lock_state();
  CUstream_st& waiter = stream_of(stream);
  const CUevent_st& awaited = event_of(event);
  if (flags != 0) misuse("flags of cudaStreamWaitEvent");
  require_untimed(awaited);
  if (awaited.capture) {
    if (awaited.capture->ended || (waiter.capture && waiter.capture != awaited.capture)) {
      if (waiter.capture) waiter.capture->invalid = true;
      return done_with(cudaErrorStreamCaptureIsolation);
    }
    // The stream joins the capture.
    if (!waiter.capture) {
      waiter.capture = awaited.capture;
      waiter.tips.clear();
    }
    waiter.tips.insert(awaited.tips.begin(), awaited.tips.end());
    return cudaSuccess;
  }
  if (waiter.capture) {
    waiter.capture->invalid = true;
    return done_with(cudaErrorStreamCaptureIsolation);
  }
  if (awaited.record)
    add(
        waiter, [&waiter, record = awaited.record] { waiter.clock = std::max(waiter.clock, record->time); },
        [record = awaited.record] { return record->done; });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Lock lock = lock_state();
  const CUevent_st& awaited = event_of(event);
  require_untimed(awaited);
  if (awaited.capture) return done_with(cudaErrorCapturedEvent);
  const std::shared_ptr<Record> record = awaited.record;
  if (record) run_until(lock, [&] { return record->done; });
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock = lock_state();
  const CUevent_st& asked = event_of(event);
  if (asked.capture) return done_with(cudaErrorCapturedEvent);
  const std::shared_ptr<Record> record = asked.record;
  run_some();
  return done_with(!record || record->done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock = lock_state();
  const CUevent_st &from = event_of(start), &to = event_of(end);
  if (!from.is_timed || !to.is_timed) misuse("the time of an event with cudaEventDisableTiming");
  if (from.device != to.device) misuse("the time between events of two devices");
  if (!from.record || !to.record) return done_with(cudaErrorInvalidResourceHandle);
  if (!from.record->done || !to.record->done) return done_with(cudaErrorNotReady);
  *ms = static_cast<float>(1e-6 * static_cast<double>(to.record->time - from.record->time));
  return cudaSuccess;
}
