// Purpose: views of images for evaluations, on a GPU: see kernels/image_view.h.
// Thread safety, invariants and errors: as in elementwise.h.
#pragma once

#include "kernels/cuda/operations.h"
#include "kernels/image_view.h"

namespace dptrain::cuda {

void see_view(const Context& context, std::int64_t planes, const SeeView& view);
void add_view(const Context& context, std::int64_t count, const AddView& view);

}  // namespace dptrain::cuda
