#include "train/save_weights.h"

#include "core/durable_file.h"
#include "core/error.h"
#include "interop/safetensors.h"

namespace dptrain {

namespace fs = std::filesystem;

void save_weights(const fs::path& run_folder, const WeightsView& weights) {
  std::vector<std::vector<float>> values;
  std::vector<SafeTensorView> tensors;
  for (const Parameter* parameter : weights.table.by_name()) {
    values.push_back(weights.table.canonical(*parameter, weights.flat));
    tensors.push_back({parameter->name, parameter->desc.shape.extents(), std::span<const float>(values.back())});
  }
  const fs::path checkpoints = run_folder / "checkpoints";
  const fs::path final = checkpoints / fmt::format("step-{}", weights.step);
  const fs::path temporary = checkpoints / fmt::format(".step-{}.tmp", weights.step);
  try {
    fs::create_directories(checkpoints);
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    write_safetensors(temporary / "model.safetensors", std::move(tensors), {{"format", "pt"}});
    sync_to_disk(temporary / "model.safetensors");
    sync_to_disk(temporary);
    fs::remove_all(final);
    publish(temporary, final);
  } catch (const fs::filesystem_error& error) {
    fail(ExitStatus::failed, "{}: the weights cannot be saved: {}", final.string(), error.code().message());
  }
}

}  // namespace dptrain
