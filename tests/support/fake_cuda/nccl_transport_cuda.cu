// The NCCL double on the real CUDA runtime, for several ranks on one GPU: an exchange is put on its streams when the last rank
// has made its call, so that events order the ranks' streams around the copies and sums.
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "support/fake_cuda/nccl_transport.h"

namespace fake_nccl {

namespace {

using dptrain::cuda::check;

template <class Element>
struct AddBody {
  const Element* from;
  Element* onto;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    dptrain::cuda::store(onto[i], dptrain::cuda::wide(onto[i]) + dptrain::cuda::wide(from[i]));
  }
};

dptrain::ElementType element_type(ncclDataType_t type) {
  if (type == ncclFloat32) return dptrain::ElementType::float32;
  return type == ncclBfloat16 ? dptrain::ElementType::bfloat16 : dptrain::ElementType::float16;
}

class StreamMover final : public Mover {
 public:
  explicit StreamMover(cudaStream_t stream) : stream_(stream) {}
  void copy(const void* from, void* to, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "a copy of the NCCL double");
  }
  void add(const void* from, void* onto, std::size_t count, ncclDataType_t type) override {
    dptrain::cuda::with_element(element_type(type), [&]<class Element>(Element) {
      dptrain::cuda::for_each(
          static_cast<std::int64_t>(count), stream_,
          AddBody<Element>{dptrain::cuda::elements<Element>(from), dptrain::cuda::elements<Element>(onto)});
    });
  }

 private:
  cudaStream_t stream_;
};

/// Everything moves on the first part's stream, between what came before and what comes after on all the others.
void run(Exchange& exchange) {
  const cudaStream_t stream = exchange.parts[0].stream;
  for (std::size_t i = 1; i < exchange.parts.size(); ++i) {
    dptrain::cuda::Event before;
    before.record(exchange.parts[i].stream);
    before.make_wait(stream);
  }
  StreamMover mover(stream);
  move(exchange, mover);
  dptrain::cuda::Event after;
  after.record(stream);
  for (std::size_t i = 1; i < exchange.parts.size(); ++i) after.make_wait(exchange.parts[i].stream);
  exchange.done = true;
}

}  // namespace

void post(cudaStream_t /*stream*/, const std::vector<Posted>& parts) {
  for (const Posted& p : parts) {
    bool all = true;
    for (const Part& part : p.exchange->parts) {
      if (part.device != p.exchange->parts[0].device && part.posted)
        misuse("this build of the double knows one device only");
      all = all && part.posted;
    }
    if (all) run(*p.exchange);
  }
}

bool enqueued(const Posted& part) {
  return part.exchange->done;
}

void encourage(cudaStream_t /*stream*/) {}

void wake_waiters() {}

}  // namespace fake_nccl
