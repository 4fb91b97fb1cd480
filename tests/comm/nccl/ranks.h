// Ranks on threads, each with a stream and floats on its device.
#pragma once

#include <barrier>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "comm/nccl/nccl_group.h"
#include "device/cuda/runtime.h"

namespace dptrain::testing {

/// What a rank's thread works with.
struct Rank {
  explicit Rank(nccl::Communicator& of, std::barrier<>* all = nullptr) : communicator(of), barrier(all) {}
  nccl::Communicator& communicator;
  std::barrier<>* barrier;
  cuda::Stream stream;

  /// To be called when this rank has allocated what it needs: an allocation may wait for the whole device, and so for
  /// an operation of another rank that waits for this one.
  void start() const {
    if (barrier != nullptr) barrier->arrive_and_wait();
  }

  Buffer upload(const std::vector<float>& values) const {
    Buffer buffer = cuda::device_buffer(values.size() * sizeof(float));
    cuda::check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice),
                "upload");
    cuda::check(cudaDeviceSynchronize(), "upload");
    return buffer;
  }
  std::vector<float> read(const Buffer& buffer) const {
    stream.synchronize();
    std::vector<float> values(buffer.size() / sizeof(float));
    cuda::check(cudaMemcpy(values.data(), buffer.data(), buffer.size(), cudaMemcpyDeviceToHost), "download");
    return values;
  }
};

/// Runs `body` on a thread for each rank of the group and waits for all; rethrows what the first of them threw. `all`
/// is for the ranks of other groups that start together with these.
inline void on_ranks(nccl::NcclGroup& group, const std::function<void(Rank&)>& body, std::barrier<>* all = nullptr) {
  std::barrier<> own(group.local_ranks());
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(group.local_ranks()));
  std::vector<std::thread> threads;
  for (int i = 0; i < group.local_ranks(); ++i) {
    threads.emplace_back([&, i] {
      try {
        cuda::use_device(group.rank(i).device());
        Rank rank(group.rank(i), all != nullptr ? all : &own);
        body(rank);
      } catch (...) {
        errors[static_cast<std::size_t>(i)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace dptrain::testing
