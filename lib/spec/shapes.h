// Purpose: the shapes that flow through a model, from the spec alone: a mismatch is an error before any data loads.
// Thread safety: pure functions.
#pragma once

#include <vector>

#include "core/shape.h"
#include "spec/job_spec.h"

namespace dptrain {

class Diagnostics;

/// Element 0 is the input, element i + 1 what layer i gives; each of one sample: (C, H, W) or (F).
/// Errors: usage, with all mismatches, each at its layer's line. A model of read_job has none.
std::vector<Shape> infer_shapes(const ModelSpec& model);

/// The same for the reader: complains into `diagnostics`; shapes behind a mismatch are missing or a guess.
std::vector<Shape> check_shapes(const ModelSpec& model, Diagnostics& diagnostics);

}  // namespace dptrain
