// Purpose: what the parts of a replica on a GPU put in line for it: copies between host and device, and work that is
//   recorded once and replayed. Thread safety: the replica's own thread. Errors: Error(failed) with CUDA's reason. The
//   host does not wait.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "device/cuda/runtime.h"

namespace dptrain {

template <class T>
T* as(const Buffer& buffer) {
  return static_cast<T*>(buffer.data());
}

inline void copy_async(void* to, const void* from, std::size_t bytes, cudaMemcpyKind direction, cudaStream_t stream) {
  if (bytes == 0) return;
  cuda::check(cudaMemcpyAsync(to, from, bytes, direction, stream),
              "a copy between host and GPU could not be put in line");
}

/// The same from the device's memory to any of the host's, behind what is in line on `stream`; waits for that, and not
/// for other streams, which another thread may be capturing.
inline void read_behind(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  copy_async(to, from, bytes, cudaMemcpyDeviceToHost, stream);
  cuda::check(cudaStreamSynchronize(stream), "the GPU's last step failed");
}

/// A table in the current device's memory; there on return.
template <class T>
Buffer upload(const std::vector<T>& values) {
  Buffer buffer = cuda::device_buffer(std::max<std::size_t>(1, values.size()) * sizeof(T));
  cuda::check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
              "a table could not be copied to the GPU");
  // A copy from pageable memory returns when it has been read, and our streams do not wait for the default one.
  cuda::check(cudaDeviceSynchronize(), "a table could not be copied to the GPU");
  return buffer;
}

/// New versions of the weights of a replica's model, see Model::Step: one for each step that is put in line, whether
/// the weights are others or not. What is recorded has to make the copies of the weights that it reads, whatever was
/// copied before.
class WeightVersions {
 public:
  std::int64_t next() { return ++latest_; }

 private:
  std::int64_t latest_ = 0;
};

/// Work of one kind. The first time it runs as it is, so that everything that CUDA loads lazily is there; from the
/// second on as a graph, unless CUDA refuses to record it: then as it is for good, which costs the host time and
/// changes no bit.
class Recording {
 public:
  /// `enqueue` puts the work on `stream`, the same every time.
  template <class Enqueue>
  void run(cudaStream_t stream, Enqueue&& enqueue) {
    if (!ran_) {
      std::forward<Enqueue>(enqueue)();
      ran_ = true;
      return;
    }
    if (!graph_ && refused_.empty()) {
      try {
        graph_ = cuda::Graph::capture(stream, enqueue);
      } catch (const Error& error) {
        refused_ = error.what();
      }
    }
    if (graph_) return graph_.launch(stream);
    std::forward<Enqueue>(enqueue)();  // what is wrong for other reasons is so again, and says so
  }
  /// The work is another from now on; what was recorded is not in line any more.
  void renew() {
    ran_ = false;
    graph_ = {};
  }
  /// Why there is no graph; empty where there is one, or none was due so far.
  const std::string& refused() const { return refused_; }

 private:
  bool ran_ = false;
  cuda::Graph graph_;
  std::string refused_;
};

}  // namespace dptrain
