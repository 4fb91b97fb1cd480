// Purpose: the shapes that flow through a model, from the spec alone: a mismatch is an error before any data loads.
// Thread safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/shape.h"
#include "spec/job_spec.h"

namespace dptrain {

class Diagnostics;

/// Element 0 is the input, element i + 1 what layer i gives; each of one sample: (C, H, W) or (F).
/// Errors: usage, with all mismatches, each at its layer's line. A model of read_job has none.
std::vector<Shape> infer_shapes(const ModelSpec& model);

/// One layer in the order in which a model counts them: a container before the layers in it, its branch before its
/// shortcut.
struct LayerShape {
  std::string kind;
  std::string name;  ///< of its parameters, without theirs: "3", "3.layers.0", "3.shortcut.1"
  Shape input, output;
  std::optional<NormKind> norm;
  bool sync = false;  ///< a batch norm over the whole step
  SourceMark at;
};
std::vector<LayerShape> layer_shapes(const ModelSpec& model);

/// The same for the reader: complains into `diagnostics`; layers behind a mismatch are missing or a guess.
std::vector<LayerShape> check_shapes(const ModelSpec& model, Diagnostics& diagnostics);

/// Those that are batch norms over the whole step.
std::vector<LayerShape> sync_norms(const ModelSpec& model);

/// Complains about batch norms that see one value a channel, which has no variance, in micro-batches of so many
/// samples, or in steps where they are over those.
void check_batch_norms(const ModelSpec& model, std::int64_t smallest_batch, std::int64_t smallest_step,
                       Diagnostics& diagnostics);

/// The stride with which a shortcut without a kernel gets from the extents of `in` to those of `out`; none where no
/// stride does. 1 for features.
std::optional<std::int64_t> shortcut_stride(const Shape& in, const Shape& out);
/// The layers that a shortcut consists of; none where it is `identity` or `pad`.
std::vector<LayerSpec> shortcut_layers(const ResidualSpec& residual, const Shape& in, const Shape& out);

}  // namespace dptrain
