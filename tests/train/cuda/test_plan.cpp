// What `dptrain check` asks of a backend, on the fake of CUDA.
#include <doctest/doctest.h>

#include "spec/reader.h"
#include "support/fake_cuda/fake_cuda.h"
#include "train/backend.h"

namespace dptrain {

TEST_CASE("a plan on a GPU has the parameters of the CPU's, and leaves nothing there") {
  fake_cuda::set_devices(1);
  const auto plan = [](const std::string& type) {
    const JobSpec job = read_job_text(
        "dataset: {name: digits}\n"
        "model: {input: [1, 28, 28], layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, flatten, linear: "
        "10]}\n"
        "train: {epochs: 1, global_batch_size: 16, optimizer: {name: sgd, lr: 0.1}}\n"
        "devices: {count: 1, type: " +
            type + "}\n",
        "job.yaml");
    const std::int64_t batches[] = {16, 3};
    return make_backend(job, place(job, 100))->plan(batches);
  };
  const ModelPlan gpu = plan("cuda"), cpu = plan("cpu");
  CHECK(gpu.parameters.elements() == cpu.parameters.elements());
  CHECK(gpu.activation_bytes >= std::int64_t{16} * 5 * 26 * 26 * 4);
  CHECK(fake_cuda::live_objects() == 0);
}

}  // namespace dptrain
