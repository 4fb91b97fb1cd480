// Capture of streams into graphs, and the launch of graphs.
#include <algorithm>

#include "support/fake_cuda/state.h"

namespace fake_cuda {

namespace {

thread_local cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;

/// The nodes that must have run before any of `tips` is done, tips included.
std::set<std::size_t> ancestors(const Nodes& nodes, const std::set<std::size_t>& tips) {
  std::set<std::size_t> all;
  std::vector<std::size_t> open(tips.begin(), tips.end());
  while (!open.empty()) {
    const std::size_t node = open.back();
    open.pop_back();
    if (!all.insert(node).second) continue;
    open.insert(open.end(), nodes[node].after.begin(), nodes[node].after.end());
  }
  return all;
}

/// Each node once, after those that it waits for, in random order. `records` are those of this launch, by node.
void run_graph(const Nodes& nodes, const std::map<std::size_t, std::shared_ptr<Record>>& records) {
  std::vector<bool> done(nodes.size(), false);
  for (std::size_t left = nodes.size(); left > 0; --left) {
    std::vector<std::size_t> ready;
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (!done[n] && std::all_of(nodes[n].after.begin(), nodes[n].after.end(), [&](std::size_t a) { return done[a]; }))
        ready.push_back(n);
    }
    const std::size_t chosen = ready[state().random() % ready.size()];
    tick();
    nodes[chosen].work();
    if (const auto found = records.find(chosen); found != records.end()) reach(*found->second);
    done[chosen] = true;
    ++state().counters.executed;
  }
}

}  // namespace

void refuse_captures(bool refuse) {
  const Lock lock = lock_state();
  state().refuses_captures = refuse;
}

cudaError_t unsafe_call() {
  if (thread_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  for (const auto& weak : state().captures) {
    const auto capture = weak.lock();
    if (!capture || capture->ended || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    const bool own = capture->thread == std::this_thread::get_id();
    const bool global = capture->mode == cudaStreamCaptureModeGlobal && thread_mode == cudaStreamCaptureModeGlobal;
    if (!own && !global) continue;
    capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

}  // namespace fake_cuda

using namespace fake_cuda;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock = lock_state();
  if (stream == nullptr) return done_with(cudaErrorStreamCaptureUnsupported);
  CUstream_st& origin = stream_of(stream);
  if (origin.capture) return done_with(cudaErrorInvalidValue);
  origin.capture = std::make_shared<Capture>();
  origin.capture->origin = &origin;
  origin.capture->mode = mode;
  origin.capture->thread = std::this_thread::get_id();
  origin.tips.clear();
  std::erase_if(state().captures, [](const auto& weak) { return weak.expired(); });
  state().captures.push_back(origin.capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* pGraph) {
  const Lock lock = lock_state();
  *pGraph = nullptr;
  CUstream_st& origin = stream_of(stream);
  const std::shared_ptr<Capture> capture = origin.capture;
  if (!capture) return done_with(cudaErrorInvalidValue);
  if (capture->origin != &origin) return done_with(cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return done_with(cudaErrorStreamCaptureWrongThread);
  const std::set<std::size_t> joined = ancestors(capture->nodes, origin.tips);
  bool unjoined = false;
  for (const auto& [handle, other] : state().streams) {
    if (other->capture != capture) continue;
    unjoined = unjoined || !std::includes(joined.begin(), joined.end(), other->tips.begin(), other->tips.end());
    other->capture.reset();
    other->tips.clear();
  }
  capture->ended = true;
  if (state().refuses_captures) return done_with(cudaErrorStreamCaptureUnsupported);
  if (capture->invalid) return done_with(cudaErrorStreamCaptureInvalidated);
  if (unjoined) return done_with(cudaErrorStreamCaptureUnjoined);
  auto graph = std::make_unique<CUgraph_st>();
  graph->nodes = std::make_shared<const Nodes>(std::move(capture->nodes));
  *pGraph = graph.get();
  state().graphs.emplace(*pGraph, std::move(graph));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* pCaptureStatus) {
  const Lock lock = lock_state();
  const auto& capture = stream_of(stream).capture;
  *pCaptureStatus = !capture           ? cudaStreamCaptureStatusNone
                    : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(thread_mode, *mode);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* pGraphExec, cudaGraph_t graph, unsigned long long flags) {
  const Lock lock = lock_state();
  if (flags != 0) misuse("flags of cudaGraphInstantiate");
  if (!state().graphs.contains(graph)) misuse("a graph that was destroyed or never made");
  auto executable = std::make_unique<CUgraphExec_st>();
  executable->nodes = graph->nodes;
  *pGraphExec = executable.get();
  state().executables.emplace(*pGraphExec, std::move(executable));
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graphExec, cudaStream_t stream) {
  const Lock lock = lock_state();
  if (!state().executables.contains(graphExec)) misuse("an executable graph that was destroyed or never made");
  CUstream_st& target = stream_of(stream);
  if (target.capture) misuse("a graph launched into a stream that is being captured");
  std::map<std::size_t, std::shared_ptr<Record>> records;
  for (std::size_t n = 0; n < graphExec->nodes->size(); ++n) {
    CUevent_st* event = (*graphExec->nodes)[n].records;
    if (event == nullptr) continue;
    event_of(event).capture.reset();
    event->record = records[n] = std::make_shared<Record>();
  }
  add(target, [nodes = graphExec->nodes, records = std::move(records)] { run_graph(*nodes, records); });
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graphExec) {
  const Lock lock = lock_state();
  if (state().executables.erase(graphExec) == 0) misuse("an executable graph was destroyed twice or never made");
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock = lock_state();
  if (state().graphs.erase(graph) == 0) misuse("a graph was destroyed twice or never made");
  return cudaSuccess;
}
