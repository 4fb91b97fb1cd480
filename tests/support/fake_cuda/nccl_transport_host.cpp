// The NCCL double on the fake CUDA runtime: every part of an exchange arrives when its stream comes to it, and holds
// the stream until all have arrived.
#include <cstring>

#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/nccl_transport.h"

namespace fake_nccl {

namespace {

class HostMover final : public Mover {
 public:
  void copy(const void* from, void* to, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void add(const void* from, void* onto, std::size_t count, ncclDataType_t type) override {
    fake_nccl::add(from, onto, count, type);
  }
};

/// A group may hold calls for the streams of several devices; NCCL finds them by itself.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    cudaSetDevice(device);
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

bool all_arrived(const Exchange& exchange) {
  if (exchange.broken) return false;
  for (const Part& part : exchange.parts) {
    if (!part.arrived) return false;
  }
  return true;
}

bool may_pass(const Posted& posted) {
  return posted.exchange->done || posted.exchange->parts[posted.part].given_up || all_arrived(*posted.exchange);
}

void require_memory(const Exchange& exchange, std::size_t index) {
  const Part& part = exchange.parts[index];
  const std::size_t bytes = exchange.count * exchange.element;
  const std::size_t all = exchange.kind == Kind::all_gather ? bytes * exchange.parts.size() : bytes;
  if (part.send != nullptr) fake_cuda::require_reachable(part.send, bytes, part.device, "what NCCL sends");
  if (part.receive != nullptr) fake_cuda::require_reachable(part.receive, all, part.device, "where NCCL receives");
}

template <class Condition>
bool all_of_them(const std::vector<Posted>& parts, Condition&& condition) {
  for (const Posted& p : parts) {
    if (!p.exchange->parts[p.part].given_up && !condition(p)) return false;
  }
  return true;
}

template <class Action>
void for_those_left(const std::vector<Posted>& parts, Action&& action) {
  for (const Posted& p : parts) {
    if (!p.exchange->parts[p.part].given_up) action(p);
  }
}

/// With ranks of other processes: what is sent leaves when the stream comes to it, and holds it until all is there, and
/// taken.
void post_mail(cudaStream_t stream, const std::vector<Posted>& parts) {
  if (fake_cuda::is_capturing(stream)) misuse("an operation of several ranks in a captured stream");
  fake_cuda::enqueue_when(
      stream,
      [parts] {
        return all_of_them(
            parts, [](const Posted& p) { return !p.exchange->mail->folder->says("stall", p.exchange->mail->rank); });
      },
      [parts] {
        for_those_left(parts, [](const Posted& p) {
          require_memory(*p.exchange, p.part);
          const auto* from = static_cast<const char*>(p.exchange->parts[p.part].send);
          send(*p.exchange, std::vector<char>(from, from + bytes_out(*p.exchange)));
        });
      });
  fake_cuda::enqueue_when(
      stream, [parts] { return all_of_them(parts, [](const Posted& p) { return has_come(*p.exchange); }); },
      [parts] {
        for_those_left(parts, [](const Posted& p) {
          const std::vector<char> result = receive(*p.exchange);
          if (bytes_in(*p.exchange) > 0) std::memcpy(p.exchange->parts[p.part].receive, result.data(), result.size());
        });
      });
  fake_cuda::enqueue_when(
      stream, [parts] { return all_of_them(parts, [](const Posted& p) { return is_taken(*p.exchange); }); },
      [parts] { for_those_left(parts, [](const Posted& p) { p.exchange->done = true; }); });
}

}  // namespace

void post(cudaStream_t stream, const std::vector<Posted>& parts) {
  const OnDevice device(parts.front().exchange->parts[parts.front().part].device);
  if (parts.front().exchange->mail) return post_mail(stream, parts);
  // A capture may run many times; then only what needs no other rank can be part of it.
  if (fake_cuda::is_capturing(stream)) {
    for (const Posted& p : parts) {
      if (p.exchange->parts.size() != 1) misuse("an operation of several ranks in a captured stream");
      fake_cuda::enqueue(stream, [p] {
        HostMover mover;
        move(*p.exchange, mover);
      });
    }
    return;
  }
  fake_cuda::enqueue(stream, [parts] {
    for (const Posted& p : parts) {
      require_memory(*p.exchange, p.part);
      p.exchange->parts[p.part].arrived = true;
    }
  });
  fake_cuda::enqueue_when(
      stream,
      [parts] {
        for (const Posted& p : parts) {
          if (!may_pass(p)) return false;
        }
        return true;
      },
      [parts] {
        for (const Posted& p : parts) {
          if (p.exchange->done || !all_arrived(*p.exchange)) continue;
          HostMover mover;
          move(*p.exchange, mover);
          p.exchange->done = true;
        }
      });
}

bool enqueued(const Posted& /*part*/) {
  return true;
}

void encourage(cudaStream_t stream) {
  cudaStreamQuery(stream);
}

void wake_waiters() {
  fake_cuda::wake();
}

}  // namespace fake_nccl
