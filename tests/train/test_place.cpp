// Where replicas are placed, for every kind of machine; no GPU is needed to say so.
#include <doctest/doctest.h>
#include <stdlib.h>

#include "core/error.h"
#include "spec/reader.h"
#include "train/fit/fit.h"

namespace dptrain {
namespace {

Accelerators gpus(int count) {
  Accelerators machine;
  for (int i = 0; i < count; ++i)
    machine.usable.push_back({i, "GPU " + std::string(1, static_cast<char>('A' + i)), 9, 0, 1});
  return machine;
}

const Accelerators kNone = {.usable = {}, .missing = "the reason", .remedy = "the way out"};

/// Eight micro-batches a step.
JobSpec job(const std::string& devices, const std::string& precision = "fp32") {
  return read_job_text(
      "dataset: {name: mnist}\n"
      "model: {input: [1, 28, 28], layers: [flatten, linear: 10]}\n"
      "train: {epochs: 1, global_batch_size: 64, optimizer: {name: sgd, lr: 0.1}, precision: " +
          precision + "}\n" + devices + "\n",
      "job.yaml");
}

std::vector<int> numbers(const Placement& placement) {
  std::vector<int> found;
  for (const AcceleratorInfo& gpu : placement.gpus) found.push_back(gpu.device);
  return found;
}

std::string refusal(const JobSpec& job, const Accelerators& machine) {
  try {
    place(job, 1000, machine);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::usage);
    return error.what();
  }
  FAIL_CHECK("it was placed");
  return "";
}

}  // namespace

TEST_CASE("auto takes the GPUs that there are, at most one for each micro-batch, else CPU cores") {
  CHECK(numbers(place(job(""), 1000, gpus(1))) == std::vector<int>{0});
  CHECK(numbers(place(job("devices: {type: auto}"), 1000, gpus(3))) == std::vector<int>{0, 1, 2});
  CHECK(place(job(""), 1000, gpus(20)).replicas == 8);
  CHECK(place(job(""), 1000, gpus(20)).gpus.size() == 8);
  const Placement cores = place(job(""), 1000, kNone);
  CHECK(cores.type == DeviceType::cpu);
  CHECK(cores.replicas >= 1);
  CHECK(cores.gpus.empty());
  CHECK(place(job("devices: {type: cpu, count: 3}"), 1000, gpus(2)).type == DeviceType::cpu);
  CHECK(place(job("devices: {type: auto, count: 3, share: true}"), 1000, kNone).replicas == 3);
}

TEST_CASE("the replicas of processes follow each other") {
  Placement placement;
  placement.replicas = 7;
  placement.shares = {3, 2, 2};
  CHECK(placement.replicas_of(0) == Range{0, 3});
  CHECK(placement.replicas_of(1) == Range{3, 5});
  CHECK(placement.replicas_of(1, 3) == Range{3, 7});
  std::vector<int> processes;
  for (int replica = 0; replica < 7; ++replica) processes.push_back(placement.process_of(replica));
  CHECK(processes == std::vector<int>{0, 0, 0, 1, 1, 2, 2});
  CHECK(place(job("devices: {type: cpu, count: 3}"), 1000, kNone).replicas_of(0) == Range{0, 3});
}

TEST_CASE("replicas share GPUs in turn, where the job says that they may") {
  CHECK(numbers(place(job("devices: {type: cuda, count: 4, share: true}"), 1000, gpus(1))) ==
        std::vector<int>{0, 0, 0, 0});
  CHECK(numbers(place(job("devices: {type: cuda, count: 5, share: true}"), 1000, gpus(2))) ==
        std::vector<int>{0, 1, 0, 1, 0});
  CHECK(numbers(place(job("devices: {type: cuda, share: true}"), 1000, gpus(2))) == std::vector<int>{0, 1});
  CHECK(numbers(place(job("gpus: 2", "tf32"), 1000, gpus(4))) == std::vector<int>{0, 1});
}

TEST_CASE("async and local SGD take GPUs too, local SGD at most one for each worker") {
  CHECK(place(job("mode: async"), 1000, gpus(3)).replicas == 3);
  CHECK(place(job("mode: async\ndevices: {type: cuda, count: 9, share: true}"), 1000, gpus(2)).replicas == 9);
  const Placement local = place(job("mode: local_sgd\nlocal_sgd: {workers: 2}"), 1000, gpus(3));
  CHECK(local.type == DeviceType::cuda);
  CHECK(numbers(local) == std::vector<int>{0, 1});
}

TEST_CASE("GPUs that are not usable are passed over") {
  Accelerators machine = gpus(3);
  machine.usable.erase(machine.usable.begin() + 1);
  CHECK(numbers(place(job("gpus: 2"), 1000, machine)) == std::vector<int>{0, 2});
}

TEST_CASE("no GPU: what is missing, how to get one, and how to do without") {
  CHECK(refusal(job("gpus: 2"), kNone) ==
        "job.yaml:4:7: error: the job asks for GPUs, and none can be used: the reason\n"
        "  gpus: 2\n"
        "        ^\n"
        "  hint: the way out; for CPU cores: --set devices.type=cpu --devices N");
}

TEST_CASE("fewer GPUs than asked for: how many there are, and every way to go on") {
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  CHECK(refusal(job("gpus: 2"), gpus(1)) ==
        "job.yaml:4:7: error: the job asks for 2 GPUs, and 1 GPU can be used\n"
        "  gpus: 2\n"
        "        ^\n"
        "  hint: use 1 or fewer; or --set devices.share=true, for several replicas on a GPU; "
        "for CPU cores: --set devices.type=cpu --devices N");
  Accelerators machine = gpus(2);
  machine.missing = "GPU 2 is old";
  ::setenv("CUDA_VISIBLE_DEVICES", "0,1,2", 1);
  const std::string message = refusal(job("devices: {count: 3}"), machine);
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  CHECK(message.find("asks for 3 devices of type auto, which are GPUs where there are any, and 2 GPUs can be used "
                     "(GPU 2 is old); CUDA_VISIBLE_DEVICES is '0,1,2'") != std::string::npos);
}

TEST_CASE("more replicas than micro-batches are refused on GPUs too") {
  JobSpec many = job("devices: {type: cuda, count: 8, share: true}");
  const std::string message = [&] {
    try {
      place(many, 24, gpus(1));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  }();
  CHECK(message.find("8 replicas for 3 micro-batches a step") != std::string::npos);
  CHECK(message.find("use at most 3 devices") != std::string::npos);
}

TEST_CASE("tf32 is refused on the CPU, with the reason where no GPU was found") {
  const std::string chosen = refusal(job("devices: {type: cpu}", "tf32"), gpus(1));
  CHECK(chosen.find("job.yaml:3:") == 0);
  CHECK(chosen.find("tf32 is for GPUs, and the replicas are on the CPU\n") != std::string::npos);
  CHECK(chosen.find("hint: use fp32, or devices: {type: cuda}") != std::string::npos);
  const std::string found = refusal(job("", "tf32"), kNone);
  CHECK(found.find("because no GPU can be used: the reason") != std::string::npos);
  CHECK(found.find("hint: use fp32; for a GPU: the way out") != std::string::npos);
}

TEST_CASE("16 bits: both types on GPUs, and fp16 there alone") {
  const std::string half = refusal(job("devices: {type: cpu}", "fp16"), kNone);
  CHECK(half.find("job.yaml:3:") == 0);
  CHECK(half.find("train.precision: fp16 is for GPUs, and the replicas are on the CPU\n") != std::string::npos);
  CHECK(half.find("fp32, or devices: {type: cuda}") != std::string::npos);
  for (const char* precision : {"bf16", "fp16"}) CHECK(place(job("gpus: 1", precision), 1000, gpus(1)).replicas == 1);
  for (const char* mode : {"async", "local_sgd"}) {
    const std::string refused = refusal(job(fmt::format("gpus: 1\nmode: {}", mode), "fp16"), gpus(1));
    CHECK(refused.find(fmt::format("train.precision: fp16 is for mode sync, and this is mode {}", mode)) !=
          std::string::npos);
    CHECK(place(job(fmt::format("gpus: 1\nmode: {}", mode), "bf16"), 1000, gpus(1)).replicas == 1);
  }
}

}  // namespace dptrain
