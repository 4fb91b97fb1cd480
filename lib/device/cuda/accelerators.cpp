#include "device/accelerators.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdlib>

namespace dptrain {

namespace {

constexpr int kOldestMajor = 8;  // the machine code that is built: compute capability 8.0 and later

/// "13.0" of CUDA's 13000.
std::string cuda_version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

std::string visible_devices() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible == nullptr ? "" : fmt::format("CUDA_VISIBLE_DEVICES is '{}'", visible);
}

/// Where nvidia-smi may work all the same.
std::string remedy(cudaError_t status) {
  switch (status) {
    case cudaErrorSystemNotReady:
      return "GPUs that NVSwitch joins need NVIDIA's fabric manager: start nvidia-fabricmanager";
    case cudaErrorUnknown:
      return "see whether /dev/nvidia-uvm is there and may be opened (nvidia-modprobe -u makes it); in a container, "
             "start it with its GPUs (--gpus all)";
    case cudaErrorStubLibrary:
      return "the toolkit's stub of libcuda.so stands before the driver's: take its folder out of LD_LIBRARY_PATH";
    default:
      return "see whether nvidia-smi works";
  }
}

/// Why the runtime counts no devices.
Accelerators none(cudaError_t status) {
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);  // 0: there is none
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) {
      return {.usable = {},
              .missing = "this machine has no NVIDIA driver, or this process cannot see it",
              .remedy =
                  "install NVIDIA's driver (nvidia-smi must list the GPU); in a container, start it with its GPUs "
                  "(--gpus all)"};
    }
    return {.usable = {},
            .missing = fmt::format("NVIDIA's driver is for CUDA up to {}, and this build is for CUDA {}",
                                   cuda_version(driver), cuda_version(runtime)),
            .remedy = "install a newer driver, or build with an older toolkit (12.4 or later)"};
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) {
    const std::string visible = visible_devices();
    return {.usable = {},
            .missing = fmt::format("NVIDIA's driver shows no GPU{}{}", visible.empty() ? "" : "; ", visible),
            .remedy = visible.empty() ? "nvidia-smi must list one; in a container, start it with its GPUs (--gpus all)"
                                      : "unset CUDA_VISIBLE_DEVICES, or name GPUs that nvidia-smi lists"};
  }
  return {.usable = {},
          .missing = fmt::format("CUDA cannot start: {} ({})", cudaGetErrorString(status), cudaGetErrorName(status)),
          .remedy = remedy(status)};
}

/// CUDA's UUID. That of the instances of a partitioned GPU comes from the driver by a call (of CUDA 11.4) that the
/// runtime does not make: its own answer may be the whole GPU's.
std::string hardware_id(const cudaDeviceProp& properties, int device) {
  using GetUuid = int (*)(cudaUUID_t*, int);
  void* call = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuDeviceGetUuid", &call, 11040, cudaEnableDefault, &found);
#else
  const cudaError_t status = cudaGetDriverEntryPoint("cuDeviceGetUuid_v2", &call, cudaEnableDefault, &found);
#endif
  cudaUUID_t uuid = properties.uuid;
  if (status == cudaSuccess && found == cudaDriverEntryPointSuccess && call != nullptr) {
    cudaUUID_t answer{};
    if (reinterpret_cast<GetUuid>(call)(&answer, device) == 0) uuid = answer;
  }
  std::string id;
  for (const char byte : uuid.bytes) id += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return id;
}

/// What keeps a device from being used; empty: nothing.
std::string fault(int device, AcceleratorInfo& info) {
  int mode = cudaComputeModeDefault;
  cudaDeviceProp properties = {};
  cudaError_t status = cudaGetDeviceProperties(&properties, device);
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, device);
  if (status != cudaSuccess) return fmt::format("GPU {}: {}", device, cudaGetErrorString(status));
  info = {.device = device,
          .name = properties.name,
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem),
          .id = hardware_id(properties, device)};
  if (properties.major < kOldestMajor) {
    return fmt::format("GPU {} ({}) has compute capability {}.{}, and {}.0 is needed", device, info.name,
                       properties.major, properties.minor, kOldestMajor);
  }
  if (mode == cudaComputeModeProhibited) {
    return fmt::format("GPU {} ({}) is in compute mode 'prohibited'", device, info.name);
  }
  return "";
}

}  // namespace

Accelerators accelerators() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();  // an error here is an answer, not for the next call to find
  if (status != cudaSuccess || count == 0) return none(status);
  Accelerators found;
  for (int device = 0; device < count; ++device) {
    AcceleratorInfo info;
    const std::string problem = fault(device, info);
    if (problem.empty()) {
      found.usable.push_back(info);
    } else {
      found.missing += fmt::format("{}{}", found.missing.empty() ? "" : "; ", problem);
      found.remedy = "use another GPU (A100 or later), or leave it to CPU cores";
    }
  }
  cudaGetLastError();
  return found;
}

}  // namespace dptrain
