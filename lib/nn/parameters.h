// Purpose: the flat buffer of a model's parameters: what lies where, how it starts, and the way from and to the
//   canonical form that hashes and files use. Thread safety: the table is immutable; buffers belong to their owner.
// Invariants: parameters lie in the order in which backward finishes their gradients, each at a multiple of 64 bytes;
//   padding between and inside them is zero.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/update_ranges.h"
#include "nn/layer.h"

namespace dptrain {

struct Parameter {
  std::string name;  ///< as in the state dict of an equivalent torch.nn.Sequential: "0.weight", "3.layers.0.weight"
  ParameterDesc desc;
  std::uint32_t layer = 0;  ///< see layer_shapes()
  std::uint32_t index = 0;  ///< among the layer's parameters
  std::int64_t offset = 0;  ///< floats from the start of the flat buffer
};

class ParameterTable {
 public:
  /// `parameters` in flat order; offsets are assigned here.
  explicit ParameterTable(std::vector<Parameter> parameters = {});

  const std::vector<Parameter>& all() const { return all_; }  ///< in flat order
  std::vector<const Parameter*> by_name() const;              ///< sorted by name, bytewise
  std::int64_t floats() const { return floats_; }             ///< of the flat buffer, padding included
  std::int64_t elements() const;                              ///< of the canonical tensors that are trained

  /// Fills a zeroed flat buffer from the initialisers.
  void initialise(std::uint64_t seed, float* flat) const;
  /// One parameter in canonical form.
  std::vector<float> canonical(const Parameter& parameter, const float* flat) const;
  /// The same into `values`, which has room for it.
  void copy_canonical(const Parameter& parameter, const float* flat, float* values) const;
  void set_canonical(const Parameter& parameter, const float* canonical, float* flat) const;
  /// XXH3-128 over the canonical parameters in name order.
  std::string hash(const float* flat) const;

 private:
  std::vector<Parameter> all_;
  std::int64_t floats_ = 0;
};

/// How an optimizer treats each part of the flat buffer. Empty where all of it decays.
UpdateRanges update_ranges(const ParameterTable& table, DecayOn decay = DecayOn::all);

}  // namespace dptrain
