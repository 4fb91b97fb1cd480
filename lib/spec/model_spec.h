// Purpose: the network of a job spec, as plain structs: layers, containers of layers, the loss.
// Thread safety: immutable once read. Invariants: those that the reader checks are named at each member.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/shape.h"
#include "spec/source_mark.h"

namespace dptrain {

/// How weights start; the defaults are PyTorch's (Kaiming uniform with a = sqrt(5), i.e. bound 1/sqrt(fan_in)).
/// `whiten` is for a convolution that is the first layer: filters that whiten the patches of the training images, in
/// pairs of opposite sign, which are not trained; what is beyond two for each value of a patch is by the default,
/// biases start at zero.
enum class Initialiser {
  pytorch_default,
  kaiming_uniform,
  kaiming_normal,
  xavier_uniform,
  xavier_normal,
  zeros,
  whiten
};

struct LinearSpec {
  std::int64_t out_features = 0;
  bool bias = true;
  Initialiser init = Initialiser::pytorch_default;
  bool operator==(const LinearSpec&) const = default;
};
struct Conv2dSpec {
  std::int64_t out_channels = 0;
  std::int64_t kernel_height = 1, kernel_width = 1;  // `kernel_size: 3` or `[3, 5]`
  std::int64_t stride_height = 1, stride_width = 1;
  std::int64_t padding_height = 0, padding_width = 0;  // smaller than the kernel
  std::int64_t groups = 1;                             // divides both channel counts
  bool bias = true;
  Initialiser init = Initialiser::pytorch_default;
  bool operator==(const Conv2dSpec&) const = default;
};
enum class PoolKind { max, average };
/// Average pooling counts padding as PyTorch does by default (count_include_pad = true). Floor division of extents.
struct Pool2dSpec {
  PoolKind kind = PoolKind::max;
  std::int64_t kernel_height = 1, kernel_width = 1;
  std::int64_t stride_height = 1, stride_width = 1;    // default: the kernel size
  std::int64_t padding_height = 0, padding_width = 0;  // at most half the kernel
  bool operator==(const Pool2dSpec&) const = default;
};
struct FlattenSpec {
  bool operator==(const FlattenSpec&) const = default;
};
/// 0 <= p < 1
struct DropoutSpec {
  double probability = 0.5;
  bool operator==(const DropoutSpec&) const = default;
};
enum class ActivationKind { relu, leaky_relu, gelu, sigmoid, tanh, silu };
struct ActivationSpec {
  ActivationKind kind = ActivationKind::relu;
  double negative_slope = 0.01;  // leaky_relu
  bool operator==(const ActivationSpec&) const = default;
};
/// Over the features (rank 1) or channels.
struct SoftmaxSpec {
  bool operator==(const SoftmaxSpec&) const = default;
};

enum class NormKind { batch, group, layer };
/// Batch: over the samples and pixels of a micro-batch, channel by channel, or of all micro-batches of a step. Group:
/// over the pixels of a group of channels of one sample. Layer: over all elements of a sample.
struct NormSpec {
  NormKind kind = NormKind::batch;
  std::int64_t groups = 1;  // of a group norm; divides the channels
  double epsilon = 1e-5;
  double momentum =
      0.1;             // of a batch norm: the part of the way that its running statistics go in a step, as in PyTorch
  bool affine = true;  // one weight and one bias a channel, or an element where the layer is normalised
  bool sync = false;   // of a batch norm: over the whole step
  bool operator==(const NormSpec&) const = default;
};
/// (C, H, W) -> (C): the mean of each channel.
struct GlobalPoolSpec {
  bool operator==(const GlobalPoolSpec&) const = default;
};

/// How the input of a residual block reaches its sum (He et al. 2016). Where the branch changes the shape, `pad`
/// (option A) takes every k-th pixel and gives the new channels, which come last, zeros; `projection` (option B) is a
/// 1x1 convolution of stride k without bias and a batch norm, over the whole step where a batch norm of the branch is.
enum class Shortcut { identity, pad, projection, layers };

struct LayerSpec;
/// y = branch(x) + shortcut(x)
struct ResidualSpec {
  std::vector<LayerSpec> layers;  ///< of the branch, at least one
  Shortcut shortcut = Shortcut::identity;
  std::vector<LayerSpec> shortcut_layers;  ///< of Shortcut::layers, at least one there and none elsewhere
  bool operator==(const ResidualSpec&) const;
};

struct LayerSpec {
  std::variant<LinearSpec, Conv2dSpec, Pool2dSpec, FlattenSpec, DropoutSpec, ActivationSpec, SoftmaxSpec, NormSpec,
               GlobalPoolSpec, ResidualSpec>
      op;
  SourceMark at;
  /// How many layers each recomputed block has that begins with this one, the longest first. Such a block keeps its
  /// input and its output, and backward computes what lies between them once more.
  std::vector<std::size_t> recompute{};
  bool operator==(const LayerSpec&) const = default;
};
inline bool ResidualSpec::operator==(const ResidualSpec&) const = default;

/// The layer's name in the spec: "conv2d", "max_pool2d", ...
std::string layer_kind(const LayerSpec& layer);

enum class LossKind { cross_entropy, mse };

struct ModelSpec {
  Shape input;  ///< one sample: [channels, height, width] or [features]
  SourceMark input_at;
  std::vector<LayerSpec> layers;  ///< at least one
  LossKind loss = LossKind::cross_entropy;
  double label_smoothing = 0;  ///< of cross_entropy, in [0, 1); in training alone
  bool operator==(const ModelSpec&) const = default;
};

}  // namespace dptrain
