#include "kernels/cuda/launch.h"
#include "kernels/cuda/views.h"

namespace dptrain::cuda {

void see_view(const Context& context, std::int64_t planes, const SeeView& view) {
  for_each(planes * view.height * view.width, context.stream, view);
}

void add_view(const Context& context, std::int64_t count, const AddView& view) {
  for_each(count, context.stream, view);
}

}  // namespace dptrain::cuda
