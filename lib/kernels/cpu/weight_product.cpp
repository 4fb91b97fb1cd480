#include "kernels/cpu/weight_product.h"

#include <algorithm>
#include <cstring>

#include "core/bfloat16.h"

namespace dptrain::cpu {

using dnnl::memory;

namespace {

std::int64_t patch_size(const Conv2dSpec& spec, const TensorDesc& input) {
  return spec.kernel_height * spec.kernel_width * input.shape[0];
}

/// Of images (H, W, C): for each place of the output the kernel's window, (kernel height, kernel width, C), with zeros
/// outside.
void gather_patches(const Conv2dSpec& spec, const TensorDesc& input, const TensorDesc& output, std::int64_t batch,
                    const BFloat16* images, BFloat16* patches) {
  const std::int64_t channels = input.shape[0], height = input.shape[1], width = input.shape[2];
  const std::int64_t row = spec.kernel_width * channels;
  const auto zero = [](BFloat16* at, std::int64_t count) {
    std::memset(at, 0, static_cast<std::size_t>(count) * sizeof(BFloat16));
  };
  for (std::int64_t n = 0; n < batch; ++n, images += height * width * channels) {
    for (std::int64_t y = 0; y < output.shape[1]; ++y) {
      for (std::int64_t x = 0; x < output.shape[2]; ++x) {
        const std::int64_t left = x * spec.stride_width - spec.padding_width;
        const std::int64_t first = std::max<std::int64_t>(left, 0), last = std::min(left + spec.kernel_width, width);
        for (std::int64_t k = 0; k < spec.kernel_height; ++k, patches += row) {
          const std::int64_t from = y * spec.stride_height - spec.padding_height + k;
          if (from < 0 || from >= height || first >= last) {
            zero(patches, row);
            continue;
          }
          zero(patches, (first - left) * channels);
          std::memcpy(patches + (first - left) * channels, images + (from * width + first) * channels,
                      static_cast<std::size_t>((last - first) * channels) * sizeof(BFloat16));
          zero(patches + (last - left) * channels, (left + spec.kernel_width - last) * channels);
        }
      }
    }
  }
}

/// Each channel's sum, image by image.
void sum_channels(const TensorDesc& output, std::int64_t batch, const BFloat16* dy, float* sums) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t channels = output.shape[0], places = output.shape[1] * output.shape[2];
  std::fill_n(sums, channels, 0.0f);
  for (std::int64_t n = 0; n < batch; ++n, dy += places * channels) {
    for (std::int64_t first = 0; first < channels; first += kBlock) {
      const std::int64_t count = std::min(kBlock, channels - first);
      float image[kBlock] = {};
      for (std::int64_t place = 0; place < places; ++place)
        for (std::int64_t c = 0; c < count; ++c) image[c] += static_cast<float>(dy[place * channels + first + c]);
      for (std::int64_t c = 0; c < count; ++c) sums[first + c] += image[c];
    }
  }
}

}  // namespace

/// Milliseconds on one core with AMX, batch 64, oneDNN 2.6.3's kernel and this: 256 -> 256 channels, 3x3 pixels, kernel
/// 3: 6.61, 0.86; 256 -> 256, 8x8: 12.8, 9.5; 128 -> 256, 7x7: 4.59, 2.92; 128 -> 128, 8x8: 2.88, 2.69; 64 -> 64, 7x7:
/// 0.69, 0.71; 64 -> 128, 15x15: 3.40, 4.10; 20 -> 50, 8x8, kernel 5: 2.53, 0.74; 6 -> 16, 10x10, kernel 5: 0.27, 0.31.
bool WeightProduct::pays(const Conv2dSpec& spec, const TensorDesc& input, const TensorDesc& output) {
  constexpr std::int64_t kShortRow = 8, kManyChannels = 128, kSmallKernel = 9;
  return spec.groups == 1 && input.type == ElementType::bfloat16 && best_rank(input.type) == Rank::tiles &&
         input.layout.order == Layout::Order::channels_last && output.layout.order == Layout::Order::channels_last &&
         output.shape[2] <= kShortRow &&
         (input.shape[0] >= kManyChannels || spec.kernel_height * spec.kernel_width > kSmallKernel);
}

memory::desc WeightProduct::weights(const Dims& dims) {
  return {dims, memory::data_type::f32, memory::format_tag::ohwi};
}

WeightProduct::WeightProduct(Context& context, const Conv2dSpec& spec, const TensorDesc& input,
                             const TensorDesc& output)
    : context_(context), spec_(spec), input_(input), output_(output) {}

void WeightProduct::prepare(std::int64_t batch) {
  const std::int64_t places = batch * output_.shape[1] * output_.shape[2], size = patch_size(spec_, input_);
  const std::int64_t channels = output_.shape[0];
  const memory::desc dy(Dims{channels, places}, memory::data_type::bf16, memory::format_tag::ba);
  const memory::desc patches(Dims{places, size}, memory::data_type::bf16, memory::format_tag::ab);
  const memory::desc dw(Dims{channels, size}, memory::data_type::f32, memory::format_tag::ab);
  batches_.push_back(batch);
  products_.emplace_back(
      context_,
      dnnl::matmul::primitive_desc(dnnl::matmul::desc(dy, patches, dw), default_attributes(), context_.engine()),
      std::initializer_list<Primitive::Argument>{{DNNL_ARG_SRC, dy}, {DNNL_ARG_WEIGHTS, patches}, {DNNL_ARG_DST, dw}});
  context_.require_workspace(patches.get_size());
}

void WeightProduct::run(std::size_t slot, const void* x, const void* dy, float* weight_gradient, float* bias_gradient) {
  const std::int64_t batch = batches_[slot];
  gather_patches(spec_, input_, output_, batch, static_cast<const BFloat16*>(x),
                 static_cast<BFloat16*>(context_.workspace()));
  products_[slot].run({dy, context_.workspace(), weight_gradient});
  if (spec_.bias) sum_channels(output_, batch, static_cast<const BFloat16*>(dy), bias_gradient);
}

}  // namespace dptrain::cpu
