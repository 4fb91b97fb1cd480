// Purpose: samples out of images that lie as bytes in a GPU's memory: gathered and normalised there, so that a step
//   needs only their ids from the host. The same arithmetic as ImageDataset::gather(), so the same bits.
// Thread safety, invariants and errors: as in elementwise.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace dptrain::cuda {

/// In the GPU's memory, but for the numbers.
struct ByteImages {
  const std::uint8_t* pixels = nullptr;  ///< (samples, elements)
  const std::uint8_t* labels = nullptr;  ///< (samples)
  const float* scale = nullptr;          ///< (channels): normalised = byte * scale + shift
  const float* shift = nullptr;
  std::int64_t elements = 0;  ///< of a sample
  std::int64_t plane = 0;     ///< of a channel
};

/// x (count, elements) and labels of the samples ids[0], ids[1], ...; null ids: first, first + 1, ...
void gather_images(const ByteImages& images, const std::int64_t* ids, std::int64_t first, std::int64_t count, float* x,
                   std::int32_t* labels, cudaStream_t stream);

}  // namespace dptrain::cuda
