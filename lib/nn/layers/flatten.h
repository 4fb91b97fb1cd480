// Purpose: flatten (C, H, W) -> (F). Nothing moves: the tensor keeps its layout, and a linear layer behind it sorts its
//   weights to match. Thread safety: see layer.h.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Flatten final : public Layer {
 public:
  explicit Flatten(const LayerContext& context) : output_(context.input.flattened()) {}

  const TensorDesc& output() const override { return output_; }
  void prepare(std::int64_t) override {}
  void forward(const Pass&, const ParameterViews&, const void*, void*) override {}
  void backward(const Pass&, const ParameterViews&, const void*, const void*, void*, void*) override {}
  bool backward_reads_input() const override { return false; }
  bool backward_reads_output() const override { return false; }
  bool can_forward_in_place() const override { return true; }
  bool passes_through() const override { return true; }
  bool backward_in_place() const override { return true; }

 private:
  TensorDesc output_;
};

}  // namespace dptrain
