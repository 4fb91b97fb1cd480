// Purpose: the operations of one device, as one table. A layer asks for operations once and then runs them on views it
//   is given; what a batch size needs is created by prepare(), before step 0, and nothing is allocated afterwards.
//   All tensors, labels, ids and results lie in the device's memory; a GPU's operations are put in line on its stream
//   and nobody waits for them here. What lies at a tensor's address is what its TensorDesc says; parameters, their
//   gradients, statistics and losses are floats, whatever the tensors are.
// Thread safety: a Kernels and its operations belong to one thread, the one that calls prepare() and the rest.
// Invariants: operations write their outputs and never accumulate onto them; gradients are sums over the samples of the
//   batch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/buffer.h"
#include "kernels/image_view.h"
#include "kernels/loss_sum.h"
#include "kernels/tensor_desc.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Which batch size of those prepared a call is about: the k-th call of prepare() made slot k.
using Slot = int;

class Operation {
 public:
  virtual ~Operation() = default;
  virtual void prepare(std::int64_t batch) = 0;
  /// What the library chose for each primitive, such as "brgemm:avx512_core"; for the profile, and for the test that
  /// fails on a reference implementation.
  virtual std::vector<std::string> implementations() const = 0;
};

/// y = activation(W x + b): a linear layer or a convolution. W and its gradient lie in one layout, chosen at the full
/// batch size and imposed on the others: forward's choice, or the gradient's where nothing fast makes a gradient in
/// forward's. pack and unpack translate from and to the canonical one (PyTorch's: (out, in), or OIHW).
class AffineOperation : public Operation {
 public:
  virtual const TensorDesc& output() const = 0;
  virtual std::int64_t weight_floats() const = 0;  ///< stored, padding included
  /// Memory of its own, in bytes, for copies of what it reads in another type or layout, weights and tensors, when all
  /// batch sizes are prepared.
  virtual std::int64_t copy_bytes() const = 0;
  virtual void pack(const float* canonical, float* stored) const = 0;
  virtual void unpack(const float* stored, float* canonical) const = 0;

  /// Before each pass: the weights and the bias that it reads, and their number, which is another wherever they may be
  /// others. What an operation keeps of them in another type or layout is made anew then. `bias` is ignored where there
  /// is none.
  virtual void set_weights(const float* /*weight*/, const float* /*bias*/, std::int64_t /*version*/) {}
  /// `bias` is ignored where there is none.
  virtual void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) = 0;
  /// Gradient sums; `bias_gradient` is ignored where there is no bias. x is that of the latest forward().
  virtual void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                                float* bias_gradient) = 0;
  /// `version` changes whenever the weights did, so that a copy in another layout is refreshed once a step.
  virtual void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t version, void* dx) = 0;
};

/// An operation without parameters.
class UnaryOperation : public Operation {
 public:
  virtual const TensorDesc& output() const = 0;
  virtual void forward(Slot slot, const void* x, void* y) = 0;
  /// x and y are those of the forward pass; an operation reads only what its layer keeps for it. dx may be dy where the
  /// layer says that backward runs in place.
  virtual void backward(Slot slot, const void* x, const void* y, const void* dy, void* dx) = 0;
};

/// A weight and a bias a channel, and running statistics; those that are not wanted or not there are null.
struct NormParameters {
  const float* weight = nullptr;
  const float* bias = nullptr;
  const float* mean = nullptr;
  const float* variance = nullptr;
};
struct NormGradients {
  float* weight = nullptr;
  float* bias = nullptr;
  float *mean = nullptr, *variance = nullptr;  ///< as statistics() has them, where backward_writes_statistics()
};
/// Each channel's sum of dy, then its sum of dy (x - mean), as it is or over the deviation, each device in its way: of
/// the batch, and of all whose statistics it has.
struct NormSums {
  const float* own = nullptr;
  const float* all = nullptr;
};

/// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, then perhaps a ReLU. Mean and (biased) variance are those
/// of a channel over the batch, or of a group of channels of one sample. Features are channels of one pixel.
class NormOperation : public Operation {
 public:
  virtual const TensorDesc& output() const = 0;  ///< the input's
  /// y may be x.
  virtual void forward(Slot slot, const void* x, const NormParameters& parameters, void* y) = 0;
  /// Of a batch norm: with the running mean and variance in place of the batch's.
  virtual void infer(Slot slot, const void* x, const NormParameters& parameters, void* y) = 0;
  /// x and the parameters are those of the latest forward(). dy is that behind the ReLU; dx may be dy, or null where
  /// nobody wants it.
  virtual void backward(Slot slot, const void* x, const NormParameters& parameters, const void* dy, void* dx,
                        const NormGradients& gradients) = 0;
  virtual bool backward_writes_statistics() const { return false; }
  /// Of a batch norm: mean and unbiased variance of the latest forward(), times the samples of the batch.
  virtual void statistics(Slot slot, float* mean, float* variance) = 0;

  // Of a batch norm whose statistics are those of several batches together: forward and backward in two halves, between
  // which what the first writes is added up over the batches. All of it in the device's memory.
  /// moments_floats() of this batch, see kernels/moments.h.
  virtual void measure(Slot slot, const void* x, float* moments);
  /// forward() with these moments, which stay as they are until backward_with() and statistics().
  virtual void forward_with(Slot slot, const void* x, const NormParameters& parameters, const float* moments, void* y);
  /// This batch's part of NormSums.
  virtual void measure_gradient(Slot slot, const void* x, const void* dy, float* sums);
  /// backward() with these sums; gradients of the parameters are this batch's.
  virtual void backward_with(Slot slot, const void* x, const NormParameters& parameters, const NormSums& sums,
                             const void* dy, void* dx, const NormGradients& gradients);
};

/// y = a + what of b goes where, perhaps with a ReLU behind it. Every k-th pixel of b counts, and it may have fewer
/// channels than a: it adds nothing to the last ones.
class AddOperation : public Operation {
 public:
  virtual const TensorDesc& output() const = 0;  ///< that of a
  /// y may be a.
  virtual void forward(Slot slot, const void* a, const void* b, void* y) = 0;
  /// Whether b lies in memory as a does, so that dy is its gradient too.
  virtual bool same_places() const = 0;
  /// dx = base + the gradient of b; a null base is zero, and dx may be base. dy is that in front of the ReLU. Where b
  /// is what another ReLU gave, `rectified` may be b: dx is then the gradient in front of that one. Null: it is that of
  /// b.
  virtual void backward(Slot slot, const void* dy, const void* base, const void* rectified, void* dx) = 0;
};

struct NormConfig {
  TensorDesc input;
  NormSpec spec;      ///< a layer norm takes features in plain layout
  bool relu = false;  ///< computed in the same kernels, forward and backward
};

struct AddConfig {
  TensorDesc a, b;
  std::int64_t stride = 1;  ///< of the pixels of b
  bool relu = false;        ///< fused into forward; backward receives dy in front of it
};

/// In which types an affine operation computes: x, dy and the weights are brought to `compute`, whatever they are, sums
/// are taken in fp32, and y is stored as `output`.
struct AffineTypes {
  ElementType compute = ElementType::float32, output = ElementType::float32;
};

/// What products and convolutions compute in.
ElementType compute_type(Precision precision);

struct LinearConfig {
  TensorDesc input;  ///< rank 1, perhaps a flattened image in a blocked layout
  std::int64_t out_features = 0;
  bool bias = true;
  std::optional<ActivationSpec> activation;  ///< fused into forward; backward receives dy behind it
  std::int64_t full_batch = 1;
  bool input_gradient = true;  ///< whether backward_data() will be called
  AffineTypes types{};
};

struct ConvolutionConfig {
  TensorDesc input;
  Conv2dSpec spec;
  std::optional<ActivationSpec> activation;
  std::int64_t full_batch = 1;
  bool input_gradient = true;
  AffineTypes types{};
};

/// What a dropout mask is drawn from.
struct DropoutDraw {
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  const std::int64_t* step = nullptr;  ///< in the device's memory: a recorded step is replayed with another number
  double probability = 0;              ///< of not surviving
  std::int64_t elements = 0;           ///< logical elements of a sample
  std::int64_t places = 0;             ///< of a sample in memory, padding included
  /// The logical element at each place; `elements` itself stands for padding, which never survives. Null: the places
  /// are the elements. In the device's memory, as `scratch`, elements + 1 bytes, is.
  const std::int32_t* element_of_place = nullptr;
  std::uint8_t* scratch = nullptr;
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  /// Zeroed memory of the device. Before step 0. Errors: Error(failed) where memory runs out.
  virtual Buffer allocate(std::size_t bytes) = 0;
  /// From the host's memory into the device's; waits. Before step 0.
  virtual void upload(const void* host, std::size_t bytes, void* device) = 0;
  virtual void copy(const void* from, std::int64_t bytes, void* to) = 0;
  /// Memory in which all operations work, beside their own, when all batch sizes are prepared.
  virtual std::int64_t workspace_bytes() const { return 0; }

  virtual std::unique_ptr<AffineOperation> linear(const LinearConfig& config) = 0;
  virtual std::unique_ptr<AffineOperation> convolution(const ConvolutionConfig& config) = 0;
  virtual std::unique_ptr<UnaryOperation> pool(const TensorDesc& input, const Pool2dSpec& spec,
                                               std::int64_t full_batch) = 0;
  /// In place where x == y and dy == dx. Reads y in backward, or x where backward_needs_input(spec).
  virtual std::unique_ptr<UnaryOperation> activation(const TensorDesc& input, const ActivationSpec& spec) = 0;
  /// Over the channels (or features) of a plain tensor. Reads y in backward.
  virtual std::unique_ptr<UnaryOperation> softmax(const TensorDesc& input) = 0;
  /// Backward reads x, and what forward() kept.
  virtual std::unique_ptr<NormOperation> norm(const NormConfig& config) = 0;
  virtual std::unique_ptr<AddOperation> add(const AddConfig& config) = 0;
  /// The same values in plain layout, stored as `type`.
  virtual std::unique_ptr<UnaryOperation> reorder_to_plain(const TensorDesc& input, ElementType type) = 0;

  /// Which elements of each sample survive dropout, as bytes 1 or 0 in the order of the tensor's places, (samples,
  /// places); keyed by (seed, layer, step, sample id, logical element).
  virtual void dropout_mask(const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples,
                            std::uint8_t* mask) = 0;
  /// y[i] = mask[i] ? x[i] * scale : 0, forward and backward alike, in place or not.
  virtual void dropout_apply(const std::uint8_t* mask, std::int64_t count, float scale, ElementType type, const void* x,
                             void* y) = 0;

  /// Softmax and negative log-likelihood in one, safe for any finite logits. `gradient` (samples, classes) receives the
  /// gradient of the sum; null: not wanted. `smoothing` is the part of a target that is spread over all classes
  /// (Szegedy et al. 2016).
  virtual void cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t samples,
                             std::int64_t classes, float smoothing, float* gradient, LossSum* sum) = 0;
  /// Mean over outputs of the squared distance to the label's one-hot vector, summed over samples.
  virtual void mean_squared_error(const float* outputs, const std::int32_t* labels, std::int64_t samples,
                                  std::int64_t classes, float* gradient, LossSum* sum) = 0;

  /// Views of images for evaluations, and what comes of them: see image_view.h. All in the device's memory.
  virtual void see_view(std::int64_t planes, const SeeView& view) = 0;
  virtual void add_view(std::int64_t count, const AddView& view) = 0;
};

/// Whether an activation's gradient is computed from its input; otherwise from its output, and it can run in place.
bool backward_needs_input(const ActivationSpec& spec);

/// What the bits of the CPU's operations rest on, as name and value: "oneDNN" and its version, the instruction set it
/// uses.
std::vector<std::pair<std::string, std::string>> cpu_kernels_basis();

/// What this machine lacks for operations of this type on the CPU; empty: nothing.
std::string cpu_lacks(ElementType type);

/// The CPU's table: oneDNN on the calling thread, which must run everything else too.
std::unique_ptr<Kernels> make_cpu_kernels();

}  // namespace dptrain
