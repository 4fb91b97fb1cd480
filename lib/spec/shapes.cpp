#include "spec/shapes.h"

#include <algorithm>
#include <optional>

#include "spec/diagnostics.h"
#include "spec/names.h"

namespace dptrain {
namespace {

/// Largest activation and weight, in elements: far above any memory, far below overflow.
bool is_too_large(double elements) {
  return elements > static_cast<double>(kMaxCount);
}

struct Walk {
  Diagnostics& diagnostics;
  std::vector<LayerShape> layers{};
};

/// What layers one after another give; `flattened_by` as in Inference.
std::optional<Shape> infer_path(const std::vector<LayerSpec>& layers, const std::string& prefix, Shape shape,
                                const LayerSpec* flattened_by, Walk& walk);

/// What one layer gives; empty where that cannot even be guessed. A guess lets the layers behind be checked too.
class Inference {
 public:
  Inference(const LayerSpec& layer, std::string name, const Shape& in, const LayerSpec* flattened_by, Walk& walk)
      : layer_(layer), name_(std::move(name)), in_(in), flattened_by_(flattened_by), walk_(walk) {}

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
    if (conv.init == Initialiser::whiten) check_whitening(conv);
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
  std::optional<Shape> operator()(const GlobalPoolSpec&) const {
    return is_image() ? std::optional(Shape{in_[0]}) : std::nullopt;
  }

  std::optional<Shape> operator()(const NormSpec& norm) const {
    if (in_[0] % norm.groups != 0) {
      error(fmt::format("{} groups do not divide the {} channels of its input {}", norm.groups, in_[0], in_.text()),
            "set groups to a divisor of the channels");
    } else if (norm.kind != NormKind::batch && in_.elements() == norm.groups) {
      error(fmt::format("{}: 1 value to normalise, which has no variance", layer_kind(layer_)),
            norm.kind == NormKind::group ? "use fewer groups" : "remove it");
    }
    return in_;
  }

  std::optional<Shape> operator()(const ResidualSpec& residual) const {
    const std::optional<Shape> out = path(residual.layers, "layers");
    if (!out) return std::nullopt;
    const std::optional<std::int64_t> stride = shortcut_stride(in_, *out);
    const std::string what = fmt::format("the branch makes {} of its input {}", out->text(), in_.text());
    if (residual.shortcut == Shortcut::identity && *out != in_) {
      error(what + ", which a shortcut that is the identity cannot be added to",
            "set shortcut to 'pad' or 'projection'");
    } else if (residual.shortcut == Shortcut::pad && (!stride || (*out)[0] < in_[0])) {
      error(what + ", which no stride and no padding of channels does", "set shortcut to a list of layers");
    } else if (residual.shortcut == Shortcut::projection && !stride) {
      error(what + ", which no 1x1 convolution does", "set shortcut to a list of layers");
    } else if (residual.shortcut == Shortcut::projection || residual.shortcut == Shortcut::layers) {
      const std::optional<Shape> other = path(shortcut_layers(residual, in_, *out), "shortcut");
      if (other && *other != *out)
        error(what + fmt::format(", and the shortcut {}", other->text()), "both must give the same shape");
    }
    return out;
  }

 private:
  void error(const std::string& message, const std::string& hint) const {
    walk_.diagnostics.error(layer_.at, message, hint);
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

  void check_whitening(const Conv2dSpec& conv) const {
    constexpr std::int64_t kMaxPatch = 192;  // values, as of 8x8x3, which took four seconds of a core
    const std::int64_t patch = in_[0] * conv.kernel_height * conv.kernel_width;
    if (name_ != "0")
      error("init: whiten is for the first layer, which sees the images themselves", "use another init here");
    else if (conv.groups != 1)
      error("init: whiten makes filters over all channels", "set groups to 1, or use another init");
    else if (conv.kernel_height > in_[1] || conv.kernel_width > in_[2])
      error("init: whiten takes patches of the images without their padding, and the kernel is larger than an image",
            "use a smaller kernel, or another init");
    else if (patch > kMaxPatch)
      error(fmt::format("init: whiten for patches of {} values; it takes at most {}", patch, kMaxPatch),
            "use a smaller kernel, or another init");
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

  /// What a path inside of this layer gives.
  std::optional<Shape> path(const std::vector<LayerSpec>& layers, const char* which) const {
    return infer_path(layers, fmt::format("{}.{}.", name_, which), in_, flattened_by_, walk_);
  }

  const LayerSpec& layer_;
  std::string name_;
  const Shape in_;
  const LayerSpec* flattened_by_;  // the layer that made a vector of the image; null: the input is one
  Walk& walk_;
};

std::optional<Shape> infer_path(const std::vector<LayerSpec>& layers, const std::string& prefix, Shape shape,
                                const LayerSpec* flattened_by, Walk& walk) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerSpec& layer = layers[i];
    const auto* norm = std::get_if<NormSpec>(&layer.op);
    const std::string name = fmt::format("{}{}", prefix, i);
    const std::size_t place = walk.layers.size();
    walk.layers.push_back({layer_kind(layer), name, shape, shape, norm ? std::optional(norm->kind) : std::nullopt,
                           norm != nullptr && norm->sync, layer.at});
    const std::optional<Shape> out = std::visit(Inference(layer, name, shape, flattened_by, walk), layer.op);
    if (!out) return std::nullopt;
    if (shape.rank() == 3 && out->rank() == 1) flattened_by = &layer;
    walk.layers[place].output = shape = *out;
  }
  return shape;
}

}  // namespace

std::optional<std::int64_t> shortcut_stride(const Shape& in, const Shape& out) {
  if (in.rank() != out.rank()) return std::nullopt;
  if (in.rank() == 1) return 1;
  for (std::int64_t stride = 1; stride <= kMaxKernel; ++stride) {
    if ((in[1] - 1) / stride + 1 == out[1] && (in[2] - 1) / stride + 1 == out[2]) return stride;
  }
  return std::nullopt;
}

std::vector<LayerSpec> shortcut_layers(const ResidualSpec& residual, const Shape& in, const Shape& out) {
  if (residual.shortcut != Shortcut::projection) return residual.shortcut_layers;
  const SourceMark at = residual.layers.front().at;
  const bool sync = std::any_of(residual.layers.begin(), residual.layers.end(), [](const LayerSpec& layer) {
    const auto* norm = std::get_if<NormSpec>(&layer.op);
    return norm != nullptr && norm->sync;
  });
  const LayerSpec norm{NormSpec{.kind = NormKind::batch, .sync = sync}, at};
  if (in.rank() == 1) return {{LinearSpec{.out_features = out[0], .bias = false}, at}, norm};
  Conv2dSpec conv{.out_channels = out[0], .bias = false};
  conv.stride_height = conv.stride_width = shortcut_stride(in, out).value_or(1);
  return {{conv, at}, norm};
}

std::vector<LayerShape> check_shapes(const ModelSpec& model, Diagnostics& diagnostics) {
  Walk walk{diagnostics};
  const std::optional<Shape> out = infer_path(model.layers, "", model.input, nullptr, walk);
  if (out && out->rank() != 1) {
    diagnostics.error(model.layers.empty() ? model.input_at : model.layers.back().at,
                      fmt::format("the model ends with {}, but {} needs one value per class", out->text(),
                                  names::loss.name_of(model.loss)),
                      "end with 'flatten' and 'linear: CLASSES'");
  }
  return walk.layers;
}

std::vector<LayerShape> layer_shapes(const ModelSpec& model) {
  Diagnostics diagnostics;
  std::vector<LayerShape> layers = check_shapes(model, diagnostics);
  diagnostics.throw_if_any();
  return layers;
}

std::vector<Shape> infer_shapes(const ModelSpec& model) {
  std::vector<Shape> shapes{model.input};
  for (const LayerShape& layer : layer_shapes(model)) {
    if (layer.name.find('.') == std::string::npos) shapes.push_back(layer.output);
  }
  return shapes;
}

std::vector<LayerShape> sync_norms(const ModelSpec& model) {
  Diagnostics ignored;
  std::vector<LayerShape> layers = check_shapes(model, ignored);
  std::erase_if(layers, [](const LayerShape& layer) { return !layer.sync; });
  return layers;
}

void check_batch_norms(const ModelSpec& model, std::int64_t smallest_batch, std::int64_t smallest_step,
                       Diagnostics& diagnostics) {
  Diagnostics ignored;
  for (const LayerShape& layer : check_shapes(model, ignored)) {
    const std::int64_t samples = layer.sync ? smallest_step : smallest_batch;
    if (layer.norm != NormKind::batch || samples * layer.input.elements() > layer.input[0]) continue;
    diagnostics.error(
        layer.at,
        fmt::format("batch_norm: in a {} of 1 sample it sees 1 value a channel of its input {}, which has no variance",
                    layer.sync ? "step" : "micro-batch", layer.input.text()),
        fmt::format("make {} larger, or use group_norm or layer_norm", layer.sync ? "steps" : "micro-batches"));
  }
}

}  // namespace dptrain
