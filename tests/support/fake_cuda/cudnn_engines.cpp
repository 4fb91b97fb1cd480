// Which engines the cuDNN double has. Those that the project's rules leave out come first, so that a chooser which does
// not look at their notes is seen.
#include <algorithm>

#include "support/fake_cuda/cudnn_objects.h"

namespace fake_cudnn {

bool Engine::tensor_cores() const {
  return std::ranges::count(numerical, CUDNN_NUMERICAL_NOTE_TENSOR_CORE) != 0;
}

bool propose(const Object& graph, cudnnBackendHeurMode_t mode, std::vector<Engine>& engines) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const std::vector<Step> steps = steps_of(graph);
  const bool fused = steps.size() > 1;
  const Options known = options();
  engines.clear();
  // As cuDNN 9.19: sums of 16-bit products are stored in 16 bits, or go on within the graph.
  for (const Step& s : steps) {
    if (s.type == kPointwiseOperation) continue;
    const Tensor& result = s.type == kForward ? s.y : s.type == kBackwardData ? s.x : s.w;
    const Tensor& input = s.type == kBackwardData ? s.y : s.x;
    if (!result.intermediate && result.type != input.type) return false;
  }
  if (fused) {
    if (mode != CUDNN_HEUR_MODE_A) return false;
    engines.push_back({30, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION}});
    if (known.fusion) engines.push_back({31, {}, {CUDNN_BEHAVIOR_NOTE_SUPPORTS_CUDA_GRAPH_NATIVE_API}, kMiB});
    return true;
  }
  if (mode == CUDNN_HEUR_MODE_FALLBACK) {
    if (known.fallback) engines.push_back({20, {}, {}});
    return known.fallback;
  }
  engines = {{1, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS}, {}},
             {2, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}, {}},
             {3, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, {}},
             {4, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, {}},
             {5, {}, {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION}, 0, false},
             {6, {CUDNN_NUMERICAL_NOTE_WINOGRAD, CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6}, {}, kMiB},
             {7, {}, {}, 400 * kMiB},
             {8, {}, {}, 0, false}};
  if (known.preferred) engines.push_back({9, {CUDNN_NUMERICAL_NOTE_WINOGRAD}, {}, 40 * kMiB});
  return true;
}

}  // namespace fake_cudnn
