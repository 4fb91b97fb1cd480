#include "train/cuda/resident_images.h"

#include "device/cuda/runtime.h"

namespace dptrain {

namespace {

template <class T>
const T* upload_to(Buffer& buffer, std::span<const T> values) {
  buffer = cuda::device_buffer(values.size_bytes());
  cuda::check(cudaMemcpy(buffer.data(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
              "the dataset could not be copied to the GPU");
  return static_cast<const T*>(buffer.data());
}

}  // namespace

std::shared_ptr<const ResidentImages> ResidentImages::upload(const Dataset& dataset, std::size_t most) {
  const ByteSamples* bytes = dataset.as_bytes();
  if (bytes == nullptr || bytes->pixels.size() + bytes->labels.size() > most) return nullptr;
  auto resident = std::make_shared<ResidentImages>();
  resident->images_ = {.pixels = upload_to(resident->pixels_, bytes->pixels),
                       .labels = upload_to(resident->labels_, bytes->labels),
                       .scale = upload_to(resident->scale_, bytes->scale),
                       .shift = upload_to(resident->shift_, bytes->shift),
                       .elements = dataset.shape().elements(),
                       .plane = bytes->plane};
  // Replicas' streams do not wait for the default one, on which a copy from pageable memory may still be under way.
  cuda::check(cudaDeviceSynchronize(), "the dataset could not be copied to the GPU");
  return resident;
}

}  // namespace dptrain
