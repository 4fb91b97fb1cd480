#include "spec/descriptor.h"

#include <algorithm>

#include "spec/names.h"
#include "spec/source_file.h"

namespace dptrain {
namespace {

std::optional<std::string> sha256(const Value& value) {
  const auto is_hex = [](char c) { return ('0' <= c && c <= '9') || ('a' <= c && c <= 'f'); };
  const std::string& digits = value.node.text;
  if (value.node.kind == Node::Kind::scalar && digits.size() == 64 &&
      std::all_of(digits.begin(), digits.end(), is_hex)) {
    return digits;
  }
  value.expected("64 lower-case hexadecimal digits", "as sha256sum prints them, of the uncompressed file");
  return std::nullopt;
}

std::optional<std::string> mirror(const Value& value) {
  const std::optional<std::string> url = text(value);
  if (!url) return std::nullopt;
  const bool known = url->starts_with("https://") || url->starts_with("http://") || url->starts_with("file://");
  if (known && url->ends_with('/') && url->find(' ') == std::string::npos) return url;
  value.error(fmt::format("{} is not the address of a folder", in_quotes(*url)),
              "https://, http:// or file://, with a '/' at the end");
  return std::nullopt;
}

std::optional<std::string> role(const Value& value) {
  static const Choices<std::string> roles{"role",
                                          {{"train_images", "train_images"},
                                           {"train_labels", "train_labels"},
                                           {"test_images", "test_images"},
                                           {"test_labels", "test_labels"},
                                           {"archive", "archive"}},
                                          {}};
  return choice(roles)(value);
}

std::optional<DescribedFile> described_file(const Value& value) {
  DescribedFile file;
  MapReader map(value, {.title = "the entry of a file"});
  bool good = map.required("role", file.role, role);
  good = map.required("name", file.name, plain_name) && good;
  good = map.required("bytes", file.bytes, integer(1, kMaxCount)) && good;
  good = map.required("sha256", file.sha256, sha256) && good;
  map.finish();
  return good ? std::optional(file) : std::nullopt;
}

void check_files(MapReader& map, const DatasetDescriptor& descriptor) {
  if (descriptor.format == DatasetFormat::generated) {
    if (map.has("files")) map.error("files", "a generated dataset has no files", "remove it");
    if (map.has("mirrors")) map.error("mirrors", "a generated dataset has no files", "remove it");
    return;
  }
  if (!map.has("files")) map.missing("files", "one entry {role, name, bytes, sha256} for each file");
  if (descriptor.format == DatasetFormat::image_folder) {
    map.error("format", "a folder of images has no descriptor", "give its path in the job, or describe a tar of it");
    return;
  }
  std::vector<std::string_view> wanted_roles{"train_images", "train_labels", "test_images", "test_labels"};
  if (descriptor.format != DatasetFormat::idx) wanted_roles = {"archive"};
  for (const std::string_view wanted : wanted_roles) {
    const auto count = std::count_if(descriptor.files.begin(), descriptor.files.end(),
                                     [&](const DescribedFile& file) { return file.role == wanted; });
    if (map.has("files") && count != 1)
      map.error("files", fmt::format("{} files of role '{}'", count, wanted), "one is needed");
  }
}

/// One value per channel; a sample without channels counts as one.
void check_channels(MapReader& map, std::string_view key, const std::vector<double>& values, const Shape& shape) {
  const std::size_t channels = shape.rank() == 3 ? static_cast<std::size_t>(shape[0]) : 1;
  if (values.size() == channels) return;
  map.error(key, fmt::format("{} values for {} channel{}", values.size(), channels, channels == 1 ? "" : "s"),
            "one per channel");
}

DatasetDescriptor read_descriptor_tree(const Value& root, const std::filesystem::path& file) {
  DatasetDescriptor descriptor;
  descriptor.source = file;
  MapReader map(root, {.title = "the descriptor"});
  std::vector<double> mean, deviation;
  const bool named = map.required("name", descriptor.name, plain_name);
  map.required("title", descriptor.title, text);
  const bool format = map.required("format", descriptor.format, choice(names::dataset_format));
  const bool shape = map.required("shape", descriptor.shape, sample_shape);
  map.required("classes", descriptor.classes, integer(1, kMaxExtent));
  map.required("train_samples", descriptor.train_samples, integer(1, kMaxCount));
  map.required("test_samples", descriptor.test_samples, integer(1, kMaxCount));
  const bool means = map.required("mean", mean, list_of<double>(number({}), "numbers, one per channel"));
  const bool deviations =
      map.required("std", deviation, list_of<double>(number(kAboveZero), "numbers above 0, one per channel"));
  map.optional("mirrors", descriptor.mirrors, list_of<std::string>(mirror, "addresses"));
  const bool files = map.optional("files", descriptor.files, list_of<DescribedFile>(described_file, "files"));
  descriptor.folder = descriptor.name;
  map.optional("folder", descriptor.folder, plain_name);
  map.finish();

  if (named && descriptor.name != file.stem().string()) {
    map.error("name", fmt::format("{} differs from the file's name", in_quotes(descriptor.name)),
              fmt::format("a descriptor is found by its file: {}.yaml", descriptor.name));
  }
  if (shape && means) check_channels(map, "mean", mean, descriptor.shape);
  if (shape && deviations) check_channels(map, "std", deviation, descriptor.shape);
  if (format && files) check_files(map, descriptor);
  descriptor.mean.assign(mean.begin(), mean.end());
  descriptor.std.assign(deviation.begin(), deviation.end());
  return descriptor;
}

}  // namespace

DatasetDescriptor read_descriptor(const std::filesystem::path& file) {
  std::string text_ = read_source_file(file);
  const Source source = source_of_file(text_, file);
  Diagnostics diagnostics;
  Node root = parse_tree(text_, source, 1, diagnostics);
  if (root.kind == Node::Kind::null) {
    diagnostics.error(root.at, "the file is empty", "datasets/mnist.yaml shows what a descriptor holds");
    root.kind = Node::Kind::broken;
  }
  DatasetDescriptor descriptor = read_descriptor_tree(Value{root, "", root.at, diagnostics}, file);
  diagnostics.throw_if_any();
  return descriptor;
}

}  // namespace dptrain
