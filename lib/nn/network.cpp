#include "nn/network.h"

#include <fmt/format.h>

#include <algorithm>

#include "nn/layers/unary.h"
#include "spec/shapes.h"

namespace dptrain {

namespace {

/// A layer where its turn has come.
struct Turn {
  std::size_t layer = 0;
  std::size_t place = 0;                ///< no layer before this one has a turn behind it
  std::optional<ActivationSpec> fused;  ///< the activation that this layer computes along with its own output
  bool fused_before = false;            ///< this is that activation: its forward is done
};

/// The layers in the order in which they run. A ReLU that is fused into the layer before it moves behind a max pool
/// that follows it: the maximum of ReLUs is the ReLU of the maximum, so nothing changes, to the bit, but its gradient
/// is taken where the tensor is smaller. One that is fused into a norm has no turn of its own.
std::vector<Turn> running_order(const std::vector<LayerSpec>& layers) {
  std::vector<Turn> turns;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    turns.push_back({.layer = i, .place = i, .fused = {}, .fused_before = false});
    if (i + 1 == layers.size() || !can_fuse(layers[i], layers[i + 1])) continue;
    const auto& activation = std::get<ActivationSpec>(layers[i + 1].op);
    turns.back().fused = activation;
    if (std::holds_alternative<NormSpec>(layers[i].op)) {
      ++i;
      continue;
    }
    const auto* pool = i + 2 < layers.size() ? std::get_if<Pool2dSpec>(&layers[i + 2].op) : nullptr;
    const bool moves = activation.kind == ActivationKind::relu && pool != nullptr && pool->kind == PoolKind::max;
    const std::size_t last = moves ? i + 2 : i + 1;
    if (moves) turns.push_back({.layer = last, .place = last, .fused = {}, .fused_before = false});
    turns.push_back({.layer = i + 1, .place = last, .fused = {}, .fused_before = true});
    i = last;
  }
  return turns;
}

/// A layer and those inside of it, as layer_shapes counts them.
std::uint32_t count_of(const LayerSpec& layer) {
  const auto* residual = std::get_if<ResidualSpec>(&layer.op);
  if (residual == nullptr) return 1;
  std::uint32_t count = residual->shortcut == Shortcut::projection ? 3 : 1;
  for (const LayerSpec& inside : residual->layers) count += count_of(inside);
  for (const LayerSpec& inside : residual->shortcut_layers) count += count_of(inside);
  return count;
}

class Builder {
 public:
  Builder(Kernels& kernels, std::int64_t full_batch, const Shape& input, ElementType compute)
      : kernels_(kernels), full_batch_(full_batch), compute_(compute) {
    end_.tensor = TensorDesc(input);
    network_.places.push_back(end_.tensor.bytes());
  }

  Network build(const ModelSpec& spec) {
    Path path = add_layers(spec.layers, "", 0, /*to_loss=*/true);
    if (!(end_.tensor == TensorDesc(end_.tensor.shape))) add_reorder(path);
    place_parameters();
    plan_backward(path, network_);
    plan_recompute(network_);
    return std::move(network_);
  }

 private:
  /// Where a path has come to.
  struct End {
    TensorDesc tensor;
    int place = 0;
    bool has_gradient = false;  ///< something before it is trained
  };

  /// Adds stages from end_ on. `index` is that of the first layer; `to_loss`: the loss reads what the last one puts
  /// out.
  Path add_layers(const std::vector<LayerSpec>& layers, const std::string& prefix, std::uint32_t index,
                  bool to_loss = false) {
    std::vector<std::uint32_t> indices;
    for (const LayerSpec& layer : layers) {
      indices.push_back(index);
      index += count_of(layer);
    }
    Path path;
    const std::vector<Turn> turns = running_order(layers);
    const auto last = [&](const Turn& turn) {  // but for activations, which work in any type
      return to_loss && std::all_of(turns.begin() + (&turn - turns.data()) + 1, turns.end(), [&](const Turn& later) {
               return std::holds_alternative<ActivationSpec>(layers[later.layer].op);
             });
    };
    std::vector<std::size_t> ends;  // of the recomputed blocks that are open, in layers
    std::size_t begun = 0;          // layers whose blocks have been begun
    const auto end_blocks = [&](std::size_t place) {
      for (; !ends.empty() && ends.back() <= place; ends.pop_back()) end_block();
    };
    for (const Turn& turn : turns) {
      const LayerSpec& layer = layers[turn.layer];
      end_blocks(turn.place);
      // A block that begins with an activation which is computed already begins behind it.
      for (; begun <= turn.place && !turn.fused_before; ++begun) {
        for (const std::size_t length : layers[begun].recompute) {
          if (begun + length <= turn.place) continue;  // its layers have no turn of their own
          begin_block();
          ends.push_back(begun + length);
        }
      }
      const std::string name = fmt::format("{}{}.", prefix, turn.layer);
      if (const auto* residual = std::get_if<ResidualSpec>(&layer.op)) {
        path.parts.push_back(add_block(*residual, name, indices[turn.layer], turn.fused.has_value()));
        continue;
      }
      if (!takes_layout(layer, end_.tensor)) add_reorder(path);
      const LayerContext context{.kernels = kernels_,
                                 .input = end_.tensor,
                                 .index = indices[turn.layer],
                                 .full_batch = full_batch_,
                                 .fused = turn.fused,
                                 .fused_before = turn.fused_before,
                                 .input_gradient = end_.has_gradient,
                                 .types = {compute_, last(turn) ? ElementType::float32 : compute_}};
      path.parts.push_back({add_layer(layer_kind(layer), make_layer(layer, context), name, context.index), {}, {}});
      if (turn.fused_before && is_relu(layer)) latest_relu_ = path.parts.back().stage;
    }
    end_blocks(layers.size());
    return path;
  }

  /// A recomputed block from end_ on, whose tensor it reads twice.
  void begin_block() {
    keep(end_.place);
    Recomputed block{.first = network_.stages.size(), .first_place = static_cast<int>(network_.places.size())};
    block.depth = static_cast<int>(open_blocks_.size());
    open_blocks_.push_back(block);
  }
  void end_block() {
    Recomputed block = open_blocks_.back();
    open_blocks_.pop_back();
    block.last = network_.stages.size();
    block.last_place = static_cast<int>(network_.places.size());
    block.output = end_.place;
    if (block.last > block.first) network_.recomputed.push_back(block);
  }

  void add_reorder(Path& path, ElementType type = ElementType::float32) {
    auto reorder = std::make_unique<Unary>(kernels_.reorder_to_plain(end_.tensor, type), false);
    path.parts.push_back({add_layer("reorder", std::move(reorder), "", 0), {}, {}});
  }

  std::size_t add_layer(std::string kind, std::unique_ptr<Layer> layer, const std::string& name, std::uint32_t index) {
    const bool in_place = layer->passes_through() || (layer->can_forward_in_place() && !is_kept(end_.place));
    if (layer->backward_reads_input()) keep(end_.place);
    const int place = in_place ? end_.place : new_place(layer->output());
    if (layer->backward_reads_output()) keep(place);
    std::vector<Parameter> parameters;
    bool is_trained = false;
    for (ParameterDesc& desc : layer->parameters()) {
      is_trained = is_trained || !desc.is_fixed();
      const auto number = static_cast<std::uint32_t>(parameters.size());
      parameters.push_back({name + desc.name, desc, index, number, 0});
    }
    const TensorDesc output = layer->output();
    Stage& stage = add_stage(std::move(kind), {output, place, end_.has_gradient || is_trained});
    stage.layer = std::move(layer);
    parameters_.back() = std::move(parameters);
    return network_.stages.size() - 1;
  }

  Path::Part add_block(const ResidualSpec& residual, const std::string& name, std::uint32_t index, bool relu) {
    const End start = end_;
    keep(start.place);  // until the sum
    add_stage("fork", start);
    const std::size_t fork = network_.stages.size() - 1;
    // The gradients of a ReLU that stands right before, and of its only reader, are one loop.
    if (latest_relu_ && *latest_relu_ + 1 == fork && network_.stages[*latest_relu_].output == start.place) {
      network_.stages[*latest_relu_].backward_behind = true;
      network_.stages[fork].rectified = start.place;
    }
    std::vector<Path> paths;
    // What is added has one type; the model's input and a softmax's output are floats.
    const auto add_path = [&](const std::vector<LayerSpec>& layers, const char* inside) {
      paths.push_back(add_layers(layers, name + inside, index + 1));
      if (end_.tensor.type != compute_) add_reorder(paths.back(), compute_);
    };
    add_path(residual.layers, "layers.");
    const End branch = end_;
    for (const LayerSpec& layer : residual.layers) index += count_of(layer);
    end_ = start;
    const std::vector<LayerSpec> shortcut = shortcut_layers(residual, start.tensor.shape, branch.tensor.shape);
    add_path(shortcut, "shortcut.");
    const std::int64_t stride =
        residual.shortcut == Shortcut::pad ? shortcut_stride(start.tensor.shape, branch.tensor.shape).value() : 1;
    auto sum = kernels_.add({.a = branch.tensor, .b = end_.tensor, .stride = stride, .relu = relu});
    const int other = end_.place;
    const End to{branch.tensor, is_kept(branch.place) ? new_place(branch.tensor) : branch.place,
                 branch.has_gradient || end_.has_gradient};
    end_ = branch;
    Stage& stage = add_stage("add", to);
    stage.other = other;
    stage.owned_sum = std::move(sum);
    stage.sum = stage.owned_sum.get();
    Stage& parting = network_.stages[fork];
    parting.sum = stage.sum;
    if (!paths.back().parts.empty()) {
      parting.owned_sum = kernels_.add({.a = start.tensor, .b = start.tensor});
      parting.sum = parting.owned_sum.get();
    }
    return {network_.stages.size() - 1, fork, std::move(paths)};
  }

  /// A stage from end_ to `to`, which is the end then.
  Stage& add_stage(std::string kind, const End& to) {
    Stage stage;
    stage.kind = std::move(kind);
    stage.tensor = to.tensor;
    stage.input = end_.place;
    stage.output = to.place;
    stage.input_has_gradient = end_.has_gradient;
    stage.output_has_gradient = to.has_gradient;
    network_.stages.push_back(std::move(stage));
    parameters_.emplace_back();
    end_ = to;
    return network_.stages.back();
  }

  static bool is_relu(const LayerSpec& layer) {
    const auto* activation = std::get_if<ActivationSpec>(&layer.op);
    return activation != nullptr && activation->kind == ActivationKind::relu;
  }
  int new_place(const TensorDesc& tensor) {
    network_.places.push_back(tensor.bytes());
    return static_cast<int>(network_.places.size()) - 1;
  }
  /// Backward reads it, or a shortcut, or it is not ours to overwrite.
  bool is_kept(int place) const { return place == 0 || std::find(kept_.begin(), kept_.end(), place) != kept_.end(); }
  void keep(int place) { kept_.push_back(place); }

  /// In the order in which backward finishes them.
  void place_parameters() {
    std::vector<Parameter> flat;
    for (auto stage = parameters_.rbegin(); stage != parameters_.rend(); ++stage)
      flat.insert(flat.end(), stage->begin(), stage->end());
    network_.table = ParameterTable(std::move(flat));
    auto next = network_.table.all().begin();
    for (std::size_t s = network_.stages.size(); s-- > 0;) {
      Stage& stage = network_.stages[s];
      const std::size_t count = parameters_[s].size();
      stage.views.values.resize(count);
      stage.views.gradients.resize(count);
      for (std::size_t p = 0; p < count; ++p, ++next) {
        stage.offsets.push_back(next->offset);
        stage.end = next->offset + next->desc.stored_floats;
      }
    }
  }

  Kernels& kernels_;
  std::int64_t full_batch_;
  ElementType compute_;
  Network network_;
  End end_;
  std::vector<int> kept_;
  std::vector<Recomputed> open_blocks_;
  std::optional<std::size_t> latest_relu_;          // stage of the latest ReLU that the layer before it computes
  std::vector<std::vector<Parameter>> parameters_;  // by stage
};

}  // namespace

Network build_network(const ModelSpec& spec, Kernels& kernels, std::int64_t full_batch, ElementType compute) {
  return Builder(kernels, full_batch, spec.input, compute).build(spec);
}

}  // namespace dptrain
