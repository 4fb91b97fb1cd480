// TEMPORARY, DELETE: stands in for lib/spec's read_descriptor and complaint until they are merged.
#include <yaml-cpp/yaml.h>

#include "core/error.h"
#include "spec/descriptor.h"
#include "spec/reader.h"

namespace dptrain {

DatasetDescriptor read_descriptor(const std::filesystem::path& file) {
  try {
    const YAML::Node node = YAML::LoadFile(file.string());
    DatasetDescriptor d;
    d.name = node["name"].as<std::string>();
    d.title = node["title"].as<std::string>("");
    d.format = node["format"].as<std::string>() == "generated" ? DatasetFormat::generated : DatasetFormat::idx;
    d.shape = Shape(node["shape"].as<std::vector<std::int64_t>>());
    d.classes = node["classes"].as<std::int64_t>();
    d.train_samples = node["train_samples"].as<std::int64_t>();
    d.test_samples = node["test_samples"].as<std::int64_t>();
    d.mean = node["mean"].as<std::vector<float>>();
    d.std = node["std"].as<std::vector<float>>();
    if (node["mirrors"]) d.mirrors = node["mirrors"].as<std::vector<std::string>>();
    for (const auto& entry : node["files"]) {
      d.files.push_back({entry["role"].as<std::string>(), entry["name"].as<std::string>(),
                         entry["bytes"].as<std::int64_t>(), entry["sha256"].as<std::string>()});
    }
    d.source = file;
    return d;
  } catch (const YAML::Exception& error) {
    fail(ExitStatus::usage, "{}: {}", file.string(), error.what());
  }
}

std::string complaint(const SourceMark& at, const std::string& message) {
  return fmt::format("{}:{}:{}: error: {}\n", at.file, at.line, at.column, message);
}

}  // namespace dptrain
