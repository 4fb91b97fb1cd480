// One table of kernels against the float64 references: every operation, forward and backward, in every layout that the
// table's images may have, at a full batch and at one sample. Agreement is within 1e-4 of a tensor's largest value, of
// one stored as bfloat16 within 2^-7, as float16 within 2^-10: rounding is 2^-9 and 2^-12 of a value, and gradients may
// be made of rounded outputs. Masks agree to the bit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/kernels.h"

namespace dptrain::testing {

struct Backend {
  std::unique_ptr<Kernels> kernels;
  std::function<std::vector<Layout>(const Shape&)> layouts;  ///< of inputs
  /// From the device's memory to the host's, behind all that was enqueued.
  std::function<void(const void* device, std::size_t bytes, void* host)> read;
  /// Runs operations: calls its argument at once, or more than once, or captures it and launches that.
  std::function<void(const std::function<void()>&)> run;
  ElementType type = ElementType::float32;  ///< of tensors; what comes in is rounded to it, for the references too
  bool rounds_kernels = false;  ///< a convolution's weight gradients are of that type too, before they are floats
};

/// Every kind; one with a slope below zero.
inline const std::vector<ActivationSpec> kActivations{
    {ActivationKind::relu, 0.01}, {ActivationKind::leaky_relu, 0.01}, {ActivationKind::leaky_relu, -0.5},
    {ActivationKind::gelu, 0.01}, {ActivationKind::sigmoid, 0.01},    {ActivationKind::tanh, 0.01},
    {ActivationKind::silu, 0.01}};

void check_linear(Backend& backend, const Shape& input, const LinearSpec& spec,
                  std::optional<ActivationSpec> activation, std::int64_t batch);
void check_convolution(Backend& backend, const Shape& input, const Conv2dSpec& spec,
                       std::optional<ActivationSpec> activation, std::int64_t batch);
void check_pool(Backend& backend, const Shape& input, const Pool2dSpec& spec, std::int64_t batch);
void check_activation(Backend& backend, const Shape& input, const ActivationSpec& spec, std::int64_t batch);
void check_softmax(Backend& backend, const Shape& input, std::int64_t batch);
void check_norm(Backend& backend, const Shape& input, const NormSpec& spec, bool relu, std::int64_t batch);
/// Of shape a, with what b has for it.
void check_add(Backend& backend, const Shape& a, const Shape& b, std::int64_t stride, bool relu, std::int64_t batch);
void check_reorder(Backend& backend, const Shape& input, std::int64_t batch);
void check_dropout(Backend& backend, const Shape& input, double probability, std::int64_t batch);
void check_losses(Backend& backend, std::int64_t classes, std::int64_t batch);
/// A NaN among the outputs makes the loss NaN, wherever it stands.
void check_nan_shows(Backend& backend);

/// Images (channels, height, width) moved and mirrored, and what is made of views added up: to the bit.
void check_views(Backend& backend, const Shape& image, std::int64_t batch);

/// All of the above on chosen shapes.
void check_chosen_shapes(Backend& backend);
/// And on random ones, from rapidcheck; false where one failed.
bool check_random_shapes(Backend& backend);

}  // namespace dptrain::testing
