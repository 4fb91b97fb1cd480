// Purpose: the binary on the doubles of CUDA and NCCL under mpirun: a host with GPUs, for the end-to-end tests.
// Thread safety: none.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/mpirun.h"

namespace dptrain::test {

inline const std::string gpu_mlp = small_mlp("cuda");
inline const std::string gpu_cnn = R"(name: cnn
dataset: {name: digits, train_samples: 110, test_samples: 70}
model:
  input: [1, 28, 28]
  layers: [{conv2d: {out_channels: 4, kernel_size: 3}}, batch_norm, relu, {max_pool2d: 2}, flatten, {dropout: 0.2}, {linear: 10}]
train: {steps: 9, global_batch_size: 48, micro_batch_size: 8, ema: {decay: 0.9}, optimizer: {name: adam, lr: 0.01}}
devices: {type: cuda, count: 4}
)";

class GpuRanks : public Ranks {
 public:
  using Environment = std::map<std::string, std::string>;

  explicit GpuRanks(const std::string& job = gpu_mlp) { write_text(folder / "job.yaml", job); }

  /// A host with four GPUs, all of which its processes see, unless `more` says something else.
  Environment gpus(const Environment& more = {}) const {
    Environment all = more;
    all.insert({"FAKE_CUDA_DEVICES", "4"});
    all.insert({"CUDA_VISIBLE_DEVICES", "0,1,2,3"});
    all.insert({"FAKE_NCCL_FOLDER", nccl().string()});
    return all;
  }
  fs::path nccl() const { return folder / "nccl"; }

  Finished alone(const std::vector<std::string>& arguments) const { return dptrain(arguments, gpus()); }
  Finished together(int ranks, const std::vector<std::string>& arguments, const Environment& more = {}) const {
    return on(ranks, arguments, gpus(more));
  }
  Finished apart(const std::vector<std::string>& arguments, const Environment& first, const Environment& second) const {
    return on_two(arguments, first, second, gpus());
  }
};

}  // namespace dptrain::test
