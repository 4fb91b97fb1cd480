// Every operation in float64 by plain loops over plain tensors, forward and backward, from the definitions alone: what
// all backends are compared with. Gradients are sums over the samples of the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "spec/job_spec.h"

namespace dptrain::testing::reference {

using Values = std::vector<double>;

struct AffineGradients {
  Values x, weight, bias;
};

struct LinearShape {
  std::int64_t batch = 1, in = 1, out = 1;
};
/// x (batch, in), weight (out, in), bias (out) or empty -> (batch, out)
Values linear(const LinearShape& shape, const Values& x, const Values& weight, const Values& bias);
AffineGradients linear_backward(const LinearShape& shape, const Values& x, const Values& weight, const Values& dy);

struct ImageShape {
  std::int64_t batch = 1, channels = 1, height = 1, width = 1;
  std::int64_t elements() const { return batch * channels * height * width; }
};
ImageShape convolved(const ImageShape& in, const Conv2dSpec& spec);
/// weight (out, in / groups, kernel height, kernel width), bias (out) or empty
Values convolution(const ImageShape& in, const Conv2dSpec& spec, const Values& x, const Values& weight,
                   const Values& bias);
AffineGradients convolution_backward(const ImageShape& in, const Conv2dSpec& spec, const Values& x,
                                     const Values& weight, const Values& dy);

ImageShape pooled(const ImageShape& in, const Pool2dSpec& spec);
Values pool(const ImageShape& in, const Pool2dSpec& spec, const Values& x);
/// The gradient of a maximum goes to the first of equal ones.
Values pool_backward(const ImageShape& in, const Pool2dSpec& spec, const Values& x, const Values& dy);

Values activation(const ActivationSpec& spec, const Values& x);
Values activation_backward(const ActivationSpec& spec, const Values& x, const Values& dy);

/// Over the middle axis of (outer, classes, inner).
Values softmax(std::int64_t classes, std::int64_t inner, const Values& x);
Values softmax_backward(std::int64_t classes, std::int64_t inner, const Values& x, const Values& dy);

/// Features are channels of one pixel; a layer norm takes all elements of a sample as features. Without weights 1,
/// without biases 0.
Values norm(const ImageShape& shape, const NormSpec& spec, const Values& x, const Values& weight, const Values& bias);
/// A batch norm by given means and variances.
Values norm_with(const ImageShape& shape, const NormSpec& spec, const Values& mean, const Values& variance,
                 const Values& x, const Values& weight, const Values& bias);
AffineGradients norm_backward(const ImageShape& shape, const NormSpec& spec, const Values& x, const Values& weight,
                              const Values& dy);
/// Of a batch norm: mean and unbiased variance of each channel, times the samples.
struct RunningStatistics {
  Values mean, variance;
};
RunningStatistics running_statistics(const ImageShape& shape, const NormSpec& spec, const Values& x);

/// x, and every k-th pixel of `other`, in its channels.
Values add(const ImageShape& a, const ImageShape& b, std::int64_t stride, const Values& x, const Values& other);
Values add_backward(const ImageShape& a, const ImageShape& b, std::int64_t stride, const Values& dy);

Values dropout(std::span<const std::uint8_t> mask, double scale, const Values& x);

struct Loss {
  double loss = 0;  ///< sum over samples
  std::int64_t correct = 0;
  Values gradient;  ///< (samples, classes)
};
Loss cross_entropy(std::int64_t classes, const Values& logits, std::span<const std::int32_t> labels,
                   double smoothing = 0);
Loss mean_squared_error(std::int64_t classes, const Values& outputs, std::span<const std::int32_t> labels);

}  // namespace dptrain::testing::reference
