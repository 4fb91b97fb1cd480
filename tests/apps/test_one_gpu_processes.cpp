// Several processes that share a GPU, over the double of NCCL: the weights of one replica.
#include <doctest/doctest.h>

#include "apps/gpu_ranks.h"

namespace dptrain::test {

TEST_CASE(
    "gpu processes: 2 x 1 and 2 x 2 on one GPU give the weights of one replica, also where they go on with each "
    "other") {
  SKIP_WITHOUT_RANKS();
  for (const std::string& job : {gpu_mlp, gpu_cnn}) {
    const GpuRanks here(job);
    const GpuRanks::Environment environment = {{"FAKE_NCCL_FOLDER", here.nccl().string()},
                                               {"FAKE_NCCL_VERSION", "23001"},
                                               {"NCCL_MULTI_RANK_GPU_ENABLE", "1"}};
    const auto arguments = [](const std::string& devices, const std::string& out,
                              const std::vector<std::string>& more) {
      std::vector<std::string> all = {"job.yaml", "--quiet", "--resume", "--out", out, "--set", "devices=" + devices};
      all.insert(all.end(), more.begin(), more.end());
      return all;
    };
    const std::string one = "{type: cuda, count: 1}", two = "{type: cuda, count: 2, share: true}",
                      four = "{type: cuda, count: 4, share: true}";
    const std::string whole = here.weights(here.dptrain(arguments(one, "1", {}), environment), "1");
    CHECK(here.weights(here.on(2, arguments(two, "2", {}), environment), "2") == whole);
    CHECK(here.weights(here.on(2, arguments(four, "4", {}), environment), "4") == whole);
    CHECK(here.on(2, arguments(four, "run", {"--set", "train.steps=5"}), environment).status == 0);
    CHECK(here.weights(here.dptrain(arguments(one, "run", {}), environment), "run") == whole);
  }
}

}  // namespace dptrain::test
