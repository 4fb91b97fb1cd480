#include "spec/shapes.h"

#include <optional>

#include "spec/diagnostics.h"
#include "spec/names.h"

namespace dptrain {
namespace {

/// Largest activation and weight, in elements: far above any memory, far below overflow.
bool is_too_large(double elements) {
  return elements > static_cast<double>(kMaxCount);
}

/// What one layer gives; empty where that cannot even be guessed. A guess lets the layers behind be checked too.
class Inference {
 public:
  Inference(const LayerSpec& layer, const Shape& in, const LayerSpec* flattened_by, Diagnostics& diagnostics)
      : layer_(layer), in_(in), flattened_by_(flattened_by), diagnostics_(diagnostics) {}

  std::optional<Shape> operator()(const LinearSpec& linear) const {
    if (in_.rank() != 1) {
      error(fmt::format("linear takes (features), but its input is {}", in_.text()), "put 'flatten' before it");
    } else {
      check_weight(static_cast<double>(in_.elements()) * static_cast<double>(linear.out_features));
    }
    return Shape{linear.out_features};
  }

  std::optional<Shape> operator()(const Conv2dSpec& conv) const {
    if (!is_image()) return std::nullopt;
    if (in_[0] % conv.groups != 0) {
      error(fmt::format("{} groups do not divide the {} channels of its input {}", conv.groups, in_[0], in_.text()),
            "set groups to a divisor of both channel counts");
    }
    check_weight(static_cast<double>(conv.out_channels) * static_cast<double>(in_[0] / conv.groups) *
                 static_cast<double>(conv.kernel_height * conv.kernel_width));
    return window(conv, conv.out_channels);
  }

  std::optional<Shape> operator()(const Pool2dSpec& pool) const {
    return is_image() ? window(pool, in_[0]) : std::nullopt;
  }
  std::optional<Shape> operator()(const FlattenSpec&) const { return Shape{in_.elements()}; }
  std::optional<Shape> operator()(const DropoutSpec&) const { return in_; }
  std::optional<Shape> operator()(const ActivationSpec&) const { return in_; }
  std::optional<Shape> operator()(const SoftmaxSpec&) const { return in_; }

 private:
  void error(const std::string& message, const std::string& hint) const {
    diagnostics_.error(layer_.at, message, hint);
  }

  bool is_image() const {
    if (in_.rank() == 3) return true;
    std::string hint = "give model.input as [channels, height, width]";
    if (flattened_by_ != nullptr) {
      const bool by_flatten = std::holds_alternative<FlattenSpec>(flattened_by_->op);
      hint = by_flatten ? "remove the 'flatten' before it" : "put it before every 'linear'";
    }
    error(fmt::format("{} takes (channels, height, width), but its input is {}", layer_kind(layer_), in_.text()), hint);
    return false;
  }

  void check_weight(double elements) const {
    if (is_too_large(elements)) error(fmt::format("a weight of {:.3g} elements", elements), "make the layer smaller");
  }

  /// The extents of a sliding window, rounded down.
  template <class Window>
  std::optional<Shape> window(const Window& w, std::int64_t channels) const {
    const std::int64_t height = in_[1] + 2 * w.padding_height, width = in_[2] + 2 * w.padding_width;
    if (height < w.kernel_height || width < w.kernel_width) {
      error(fmt::format("{}: a kernel of {}x{} does not fit its input {}{}", layer_kind(layer_), w.kernel_height,
                        w.kernel_width, in_.text(), w.padding_height + w.padding_width > 0 ? " with its padding" : ""),
            "use a smaller kernel, or fewer layers that shrink the image before it");
      return std::nullopt;
    }
    const std::int64_t out_height = (height - w.kernel_height) / w.stride_height + 1;
    const std::int64_t out_width = (width - w.kernel_width) / w.stride_width + 1;
    const double elements =
        static_cast<double>(channels) * static_cast<double>(out_height) * static_cast<double>(out_width);
    if (is_too_large(elements)) {
      error(fmt::format("{}: an output of {:.3g} elements a sample", layer_kind(layer_), elements),
            "make the layer smaller");
      return std::nullopt;
    }
    return Shape{channels, out_height, out_width};
  }

  const LayerSpec& layer_;
  const Shape& in_;
  const LayerSpec* flattened_by_;  // the layer that made a vector of the image; null: the input is one
  Diagnostics& diagnostics_;
};

}  // namespace

std::vector<Shape> check_shapes(const ModelSpec& model, Diagnostics& diagnostics) {
  std::vector<Shape> shapes{model.input};
  const LayerSpec* flattened_by = nullptr;
  for (const LayerSpec& layer : model.layers) {
    const std::optional<Shape> out = std::visit(Inference(layer, shapes.back(), flattened_by, diagnostics), layer.op);
    if (!out) return shapes;
    if (shapes.back().rank() == 3 && out->rank() == 1) flattened_by = &layer;
    shapes.push_back(*out);
  }
  if (shapes.back().rank() != 1) {
    diagnostics.error(model.layers.empty() ? model.input_at : model.layers.back().at,
                      fmt::format("the model ends with {}, but {} needs one value per class", shapes.back().text(),
                                  names::loss.name_of(model.loss)),
                      "end with 'flatten' and 'linear: CLASSES'");
  }
  return shapes;
}

std::vector<Shape> infer_shapes(const ModelSpec& model) {
  Diagnostics diagnostics;
  std::vector<Shape> shapes = check_shapes(model, diagnostics);
  diagnostics.throw_if_any();
  return shapes;
}

}  // namespace dptrain
