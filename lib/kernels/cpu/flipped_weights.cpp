#include "kernels/cpu/flipped_weights.h"

#include <algorithm>

namespace dptrain::cpu {

using dnnl::memory;

FlippedWeights::FlippedWeights(Context& context, const Dims& dims, const memory::desc& stored,
                               const memory::desc& layout)
    : places_(dims[2] * dims[3]), kernels_(dims[0] * dims[1]), layout_(layout), context_(context) {
  const memory::desc exchanged(dims, memory::data_type::f32, memory::format_tag::iohw);
  const memory::desc plain(Dims{dims[1], dims[0], dims[2], dims[3]}, memory::data_type::f32, memory::format_tag::oihw);
  exchange_ = reorder_primitive(context, stored, exchanged);
  copy_in_ = reorder_primitive(context, plain, layout);
  context.require_workspace(exchanged.get_size());
  copy_ = Buffer::host(layout.get_size());
}

const void* FlippedWeights::of(const float* weights, std::int64_t version) {
  if (weights == from_ && version == version_) return copy_.data();
  exchange_.run({weights, context_.workspace()});
  auto* kernel = static_cast<float*>(context_.workspace());
  for (std::int64_t k = 0; k < kernels_; ++k, kernel += places_) std::reverse(kernel, kernel + places_);
  copy_in_.run({context_.workspace(), copy_.data()});
  from_ = weights;
  version_ = version;
  return copy_.data();
}

}  // namespace dptrain::cpu
