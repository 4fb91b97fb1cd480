// The GPUs that can be used, and why not, for every answer that the CUDA runtime gives. The runtime's functions are
// doubles of this file: the program is not linked with CUDA.
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cstring>
#include <string>
#include <vector>

#include "device/accelerators.h"

namespace {

struct Gpu {
  std::string name;
  int major = 9, minor = 0;
  int compute_mode = cudaComputeModeDefault;
  cudaError_t status = cudaSuccess;
};

struct Machine {
  cudaError_t status = cudaSuccess;
  std::vector<Gpu> gpus;
  int driver = 13000, runtime = 13000;
  bool tells_instances = false;  // the driver has the call that tells instances of a GPU apart
};
Machine machine;

/// That call: the id of device d is all of 0xa0 + d.
int uuid_of_instance(cudaUUID_t* uuid, int device) {
  std::memset(uuid, 0xa0 + device, sizeof *uuid);
  return 0;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What is found on a machine with these GPUs.
dptrain::Accelerators with(const std::vector<Gpu>& gpus) {
  machine = {};
  machine.gpus = gpus;
  return dptrain::accelerators();
}

/// What is found where the runtime counts no GPUs and says this.
dptrain::Accelerators without(cudaError_t status, int driver = 13000, int runtime = 13000) {
  machine = {};
  machine.status = status;
  machine.driver = driver;
  machine.runtime = runtime;
  return dptrain::accelerators();
}

Gpu gpu(const std::string& name, int major, int minor) {
  Gpu made;
  made.name = name;
  made.major = major;
  made.minor = minor;
  return made;
}

}  // namespace

extern "C" {
cudaError_t CUDARTAPI cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(machine.gpus.size());
  return machine.status;
}
cudaError_t CUDARTAPI cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Gpu& gpu = machine.gpus.at(static_cast<std::size_t>(device));
  std::strncpy(properties->name, gpu.name.c_str(), sizeof properties->name - 1);
  properties->major = gpu.major;
  properties->minor = gpu.minor;
  properties->totalGlobalMem = std::size_t{80} << 30;
  std::memset(&properties->uuid, 0x11, sizeof properties->uuid);
  return gpu.status;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  CHECK(attribute == cudaDevAttrComputeMode);
  *value = machine.gpus.at(static_cast<std::size_t>(device)).compute_mode;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetDriverEntryPointByVersion(const char* symbol, void** call, unsigned int version,
                                                       unsigned long long, cudaDriverEntryPointQueryResult* found) {
  CHECK(std::string(symbol) == "cuDeviceGetUuid");
  CHECK(version == 11040);  // the older one names the whole GPU
  *call = machine.tells_instances ? reinterpret_cast<void*>(&uuid_of_instance) : nullptr;
  *found = machine.tells_instances ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDriverGetVersion(int* version) {
  *version = machine.driver;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaRuntimeGetVersion(int* version) {
  *version = machine.runtime;
  return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetLastError() {
  return cudaSuccess;
}
const char* CUDARTAPI cudaGetErrorString(cudaError_t) {
  return "words for it";
}
const char* CUDARTAPI cudaGetErrorName(cudaError_t) {
  return "cudaErrorName";
}
}

TEST_CASE("GPUs that can be used, in order") {
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  const dptrain::Accelerators found = with({gpu("one", 8, 0), gpu("two", 12, 1)});
  REQUIRE(found.usable.size() == 2);
  CHECK(found.usable[0].name == "one");
  CHECK(found.usable[1].device == 1);
  CHECK(found.usable[1].compute_major == 12);
  CHECK(found.usable[1].compute_minor == 1);
  CHECK(found.usable[1].memory_bytes == std::int64_t{80} << 30);
  CHECK(found.missing.empty());
  CHECK(found.remedy.empty());
}

TEST_CASE("instances of a GPU have ids of their own where the driver tells them; otherwise the runtime's word counts") {
  const std::vector<Gpu> two{gpu("slice", 9, 0), gpu("slice", 9, 0)};
  CHECK(with(two).usable[1].id == std::string(32, '1'));
  machine.tells_instances = true;
  const dptrain::Accelerators found = dptrain::accelerators();
  CHECK(found.usable[0].id == "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0");
  CHECK(found.usable[1].id == "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1");
}

TEST_CASE("GPUs that cannot be used are named with the reason; the others are used") {
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  Gpu shut = gpu("shut", 9, 0), lost = gpu("lost", 9, 0);
  shut.compute_mode = cudaComputeModeProhibited;
  lost.status = cudaErrorUnknown;
  const dptrain::Accelerators found = with({gpu("old", 7, 5), gpu("good", 9, 0), shut, lost});
  REQUIRE(found.usable.size() == 1);
  CHECK(found.usable[0].device == 1);
  CHECK(found.missing ==
        "GPU 0 (old) has compute capability 7.5, and 8.0 is needed; GPU 2 (shut) is in compute mode 'prohibited'; "
        "GPU 3: words for it");
  CHECK_FALSE(found.remedy.empty());
}

TEST_CASE("no driver, an old driver, no GPU, none visible, and what else CUDA may say") {
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  const dptrain::Accelerators driverless = without(cudaErrorInsufficientDriver, 0);
  CHECK(driverless.usable.empty());
  CHECK(has(driverless.missing, "no NVIDIA driver"));
  CHECK(has(driverless.remedy, "nvidia-smi"));
  const dptrain::Accelerators old = without(cudaErrorInsufficientDriver, 12040, 13020);
  CHECK(old.missing == "NVIDIA's driver is for CUDA up to 12.4, and this build is for CUDA 13.2");
  CHECK(has(old.remedy, "newer driver"));
  for (const cudaError_t status : {cudaErrorNoDevice, cudaSuccess}) {
    CHECK(without(status).missing == "NVIDIA's driver shows no GPU");
    CHECK(has(without(status).remedy, "nvidia-smi"));
    ::setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
    CHECK(without(status).missing == "NVIDIA's driver shows no GPU; CUDA_VISIBLE_DEVICES is '-1'");
    CHECK(has(without(status).remedy, "unset CUDA_VISIBLE_DEVICES"));
    ::unsetenv("CUDA_VISIBLE_DEVICES");
  }
  CHECK(has(without(cudaErrorSystemNotReady).remedy, "nvidia-fabricmanager"));
  CHECK(has(without(cudaErrorUnknown).remedy, "/dev/nvidia-uvm"));
  CHECK(has(without(cudaErrorStubLibrary).remedy, "LD_LIBRARY_PATH"));
  CHECK(without(cudaErrorSystemDriverMismatch).missing == "CUDA cannot start: words for it (cudaErrorName)");
}
