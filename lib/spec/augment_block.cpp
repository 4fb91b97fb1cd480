// `dataset.augment`: a list as that of layers. An entry is a bare name, a name with its one main setting, or a name
// with a map of settings. Names are torchvision's without their capitals; British spelling has an alias.

#include <fmt/ranges.h>

#include <algorithm>

#include "spec/blocks.h"
#include "spec/named_items.h"
#include "spec/values.h"

namespace dptrain {
namespace {

using Extents = std::pair<std::int64_t, std::int64_t>;

template <class Crop>
void read_size(MapReader& map, Crop& crop) {
  Extents size{0, 0};
  map.optional("size", size, extents(1, kMaxExtent));
  std::tie(crop.height, crop.width) = size;
}

AugmentSpec read_random_crop(MapReader& map) {
  RandomCropSpec crop;
  read_size(map, crop);
  map.optional("padding", crop.padding, integer(0, kMaxKernel));
  return crop;
}

AugmentSpec read_flip(MapReader& map) {
  HorizontalFlipSpec flip;
  map.optional("p", flip.probability, number(kFraction));
  return flip;
}

AugmentSpec read_cutout(MapReader& map) {
  CutoutSpec cutout;
  map.required("size", cutout.size, integer(1, kMaxExtent));
  return cutout;
}

/// Two ascending numbers.
void read_range(MapReader& map, std::string_view key, Bounds bounds, double& low, double& high) {
  std::vector<double> range{low, high};
  map.optional(key, range, list_of<double>(number(bounds), "two numbers"));
  if (range.size() == 2 && range[0] <= range[1]) {
    low = range[0];
    high = range[1];
  } else {
    map.error(key, "expected two ascending numbers", "write [0.08, 1]");
  }
}

AugmentSpec read_resized_crop(MapReader& map) {
  RandomResizedCropSpec crop;
  read_size(map, crop);
  read_range(map, "scale", {0, 1, true, false}, crop.scale_min, crop.scale_max);
  read_range(map, "ratio", {0.01, 100, false, false}, crop.ratio_min, crop.ratio_max);
  return crop;
}

AugmentSpec read_jitter(MapReader& map) {
  ColourJitterSpec jitter;
  map.optional("brightness", jitter.brightness, number({0, 10, false, false}));
  map.optional("contrast", jitter.contrast, number({0, 10, false, false}));
  map.optional("saturation", jitter.saturation, number({0, 10, false, false}));
  map.optional("hue", jitter.hue, number({0, 0.5, false, false}));
  return jitter;
}

struct Kind {
  std::string_view name, alias;
  std::string_view main;  ///< what `name: VALUE` sets; empty: there is no such short form
  AugmentSpec (*read)(MapReader&);
};

constexpr Kind kKinds[] = {
    {"random_crop", "", "padding", read_random_crop},
    {"horizontal_flip", "random_horizontal_flip", "p", read_flip},
    {"cutout", "", "size", read_cutout},
    {"random_resized_crop", "", "size", read_resized_crop},
    {"colour_jitter", "color_jitter", "", read_jitter},
};
const Names kLater{
    "vertical_flip", "random_vertical_flip", "random_rotation", "random_affine", "random_erasing", "mixup",    "cutmix",
    "auto_augment",  "rand_augment",         "trivial_augment", "gaussian_blur", "grayscale",      "normalize"};

const Kind* find_kind(const Value& at, const std::string& name) {
  Names valid;
  for (const Kind& kind : kKinds) {
    if (name == kind.name || (!kind.alias.empty() && name == kind.alias)) return &kind;
    valid.push_back(kind.name);
  }
  refuse_name(at, "augmentation", name, valid, kLater);
  return nullptr;
}

std::optional<AugmentSpec> read_settings(const Value& name, const Value& settings) {
  const Kind* kind = find_kind(name, name.node.text);
  if (kind == nullptr) return std::nullopt;
  const Node map = as_settings(settings.node, kind->main);
  MapReader reader(Value{map, settings.path, settings.block_at, settings.diagnostics},
                   {.title = fmt::format("augmentation {}", kind->name), .may_be_empty = true});
  if (!reader.is_map()) return std::nullopt;
  AugmentSpec spec = kind->read(reader);
  reader.finish();
  return spec;
}

std::optional<AugmentSpec> read_item(const Value& item) {
  return read_named<AugmentSpec>(
      item, "an augmentation", "write a name such as 'horizontal_flip', or 'random_crop: {padding: 4}'", read_settings);
}

std::string size_text(std::int64_t height, std::int64_t width) {
  return height == 0 ? std::string() : fmt::format("size: [{}, {}], ", height, width);
}

struct Text {
  std::string operator()(const RandomCropSpec& crop) const {
    return fmt::format("random_crop: {{{}padding: {}}}", size_text(crop.height, crop.width), crop.padding);
  }
  std::string operator()(const HorizontalFlipSpec& flip) const {
    return fmt::format("horizontal_flip: {{p: {}}}", flip.probability);
  }
  std::string operator()(const CutoutSpec& cutout) const { return fmt::format("cutout: {{size: {}}}", cutout.size); }
  std::string operator()(const RandomResizedCropSpec& crop) const {
    return fmt::format("random_resized_crop: {{{}scale: [{}, {}], ratio: [{}, {}]}}",
                       size_text(crop.height, crop.width), crop.scale_min, crop.scale_max, crop.ratio_min,
                       crop.ratio_max);
  }
  std::string operator()(const ColourJitterSpec& jitter) const {
    return fmt::format("colour_jitter: {{brightness: {}, contrast: {}, saturation: {}, hue: {}}}", jitter.brightness,
                       jitter.contrast, jitter.saturation, jitter.hue);
  }
};

}  // namespace

std::vector<AugmentSpec> read_augment(const Value& list) {
  std::vector<AugmentSpec> augment;
  if (list.node.kind != Node::Kind::sequence) {
    list.expected("a list of augmentations", "write [{random_crop: {padding: 4}}, horizontal_flip]");
    return augment;
  }
  for (std::size_t i = 0; i < list.node.items.size(); ++i) {
    const Node& node = list.node.items[i];
    const Value item{node, fmt::format("{}.{}", list.path, i), node.at, list.diagnostics};
    if (const auto spec = read_item(item)) augment.push_back(*spec);
  }
  return augment;
}

std::string augment_text(const std::vector<AugmentSpec>& augment) {
  std::vector<std::string> items;
  for (const AugmentSpec& spec : augment) items.push_back(fmt::format("{{{}}}", std::visit(Text{}, spec)));
  return fmt::format("[{}]", fmt::join(items, ", "));
}

}  // namespace dptrain
