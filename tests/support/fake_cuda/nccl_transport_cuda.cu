// The NCCL double on the real CUDA runtime, for several ranks on one GPU: an exchange is put on its streams when the
// last rank has made its call, so that events order the ranks' streams around the copies and sums.
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

/// A step further with an exchange with ranks of other processes, through the host's memory, where that is possible by
/// now. The call is in progress until the last one: nothing else is on the stream.
void advance(Exchange& exchange, Part& part) {
  Mail& mail = *exchange.mail;
  dptrain::cuda::use_device(part.device);
  if (mail.stage == Mail::Stage::waits) {
    if (!static_cast<dptrain::cuda::Event*>(mail.mark.get())->reached() || mail.folder->says("stall", mail.rank))
      return;
    std::vector<char> bytes(bytes_out(exchange));
    if (!bytes.empty())
      check(cudaMemcpyAsync(bytes.data(), part.send, bytes.size(), cudaMemcpyDeviceToHost, part.stream),
            "a copy of the NCCL double");
    check(cudaStreamSynchronize(part.stream), "a copy of the NCCL double");
    send(exchange, std::move(bytes));
    mail.stage = Mail::Stage::sent;
  }
  if (mail.stage == Mail::Stage::sent) {
    if (!has_come(exchange)) return;
    const std::vector<char> bytes = receive(exchange);
    if (bytes_in(exchange) > 0)
      check(cudaMemcpyAsync(part.receive, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, part.stream),
            "a copy of the NCCL double");
    check(cudaStreamSynchronize(part.stream), "a copy of the NCCL double");
    mail.stage = Mail::Stage::received;
  }
  if (is_taken(exchange)) exchange.done = true;
}

}  // namespace

void post(cudaStream_t stream, const std::vector<Posted>& parts) {
  for (const Posted& p : parts) {
    if (p.exchange->mail) {
      dptrain::cuda::use_device(p.exchange->parts[p.part].device);
      const auto mark = std::make_shared<dptrain::cuda::Event>();
      mark->record(stream);
      p.exchange->mail->mark = mark;
      continue;
    }
    bool all = true;
    for (const Part& part : p.exchange->parts) {
      if (part.device != p.exchange->parts[0].device && part.posted)
        misuse("this build of the double knows one device only");
      all = all && part.posted;
    }
    if (all) run(*p.exchange);
  }
}

bool enqueued(const Posted& posted) {
  if (posted.exchange->mail && !posted.exchange->done) advance(*posted.exchange, posted.exchange->parts[posted.part]);
  return posted.exchange->done;
}

void encourage(cudaStream_t /*stream*/) {}

void wake_waiters() {}

}  // namespace fake_nccl
