// The first run of a process, with four replicas that make their primitives at the same time: nothing is in oneDNN's
// cache yet, which a run with one replica before it would hide from ThreadSanitizer.
#include <doctest/doctest.h>

#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain {

TEST_CASE("four replicas first, one after them: the same weights") {
  const auto hash_at = [](const char* replicas) {
    const JobSpec job = read_job_text(
        "dataset: {name: memory}\n"
        "model:\n"
        "  input: [2, 12, 12]\n"
        "  layers: [conv2d: {out_channels: 5, kernel_size: 3}, relu, max_pool2d: 2, conv2d: {out_channels: 8, "
        "kernel_size: 3},\n"
        "           sigmoid, flatten, linear: 20, dropout: 0.3, tanh, linear: 4]\n"
        "train: {steps: 12, global_batch_size: 30, micro_batch_size: 4, clip_grad_norm: 1.0,\n"
        "        optimizer: {name: adam, lr: 0.01}}\n"
        "data: {workers: 1}\n"
        "evaluate: {every: 5 steps}\n",
        "first.yaml", {{"--devices", "devices.count", replicas}});
    Reporter reporter;
    return train(job, test::memory_pair(100, 33, job.model.input, 4), reporter).weights_hash;
  };
  const std::string four = hash_at("4");
  CHECK(four == hash_at("1"));
  CHECK(four.size() == 32);
}

}  // namespace dptrain
