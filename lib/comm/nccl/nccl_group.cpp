#include "comm/nccl/nccl_group.h"

#include <thread>
#include <utility>

#include "comm/nccl/last_resort.h"
#include "core/error.h"
#include "device/cuda/runtime.h"

namespace dptrain::nccl {

namespace {

/// Before 2.27.3 what a thread's group still has to do belongs to that thread, and another that asks how it fares may
/// wait for it or end it in the midst (github.com/NVIDIA/nccl/issues/1753): replicas' threads could not share a group.
constexpr int kOldest = 22703;

[[noreturn]] void refuse(ncclResult_t result, const char* what, ncclComm_t communicator) {
  const bool lost = result == ncclRemoteError || result == ncclSystemError;
  fail(lost ? ExitStatus::retry : ExitStatus::failed, "{}: NCCL says {} {}", what, ncclGetErrorString(result),
       ncclGetLastError(communicator));
}

ncclDataType_t library_type(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return ncclFloat32;
    case ElementType::bfloat16:
      return ncclBfloat16;
    case ElementType::float16:
      return ncclFloat16;
  }
  return ncclFloat32;
}

/// Makes a device current for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cuda::check(cudaGetDevice(&before_), "asking which GPU is in use");
    cuda::use_device(device);
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

/// Calls until the group ends are one operation; it ends even where a call throws, as NCCL's state is a thread's.
class Grouped {
 public:
  Grouped() { check(ncclGroupStart(), "grouping calls of NCCL"); }
  ~Grouped() {
    if (!ended_) ncclGroupEnd();
  }
  Grouped(const Grouped&) = delete;
  Grouped& operator=(const Grouped&) = delete;
  ncclResult_t end() {
    ended_ = true;
    return ncclGroupEnd();
  }

 private:
  bool ended_ = false;
};

/// A call inside a group is only noted down.
void noted(ncclResult_t result, const char* what) {
  if (result != ncclInProgress) check(result, what);
}

}  // namespace

void check(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) refuse(result, what, nullptr);
}

int library_version() {
  int version = 0;
  check(ncclGetVersion(&version), "asking for NCCL's version");
  return version;
}

template <class Call>
void Communicator::call(const char* what, const Call& enqueue) {
  ncclResult_t result = ncclSuccess;
  {
    const std::lock_guard lock(mutex_);
    if (aborted_) give_up(what);
    DPTRAIN_CHECK(handle_ != nullptr, "{} on a communicator that was closed", what);
    result = enqueue(handle_);
  }
  if (result == ncclInProgress) return settle(what);
  check(result, what);
}

ncclResult_t Communicator::state() {
  const std::lock_guard lock(mutex_);
  if (aborted_) give_up("waiting for NCCL");
  if (handle_ == nullptr) return ncclSuccess;
  ncclResult_t state = ncclSuccess;
  check(ncclCommGetAsyncError(handle_, &state), "asking how NCCL fares");
  return state;
}

void Communicator::settle(const char* what) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  while (true) {
    const ncclResult_t now = state();
    if (now == ncclSuccess) return;
    if (now != ncclInProgress) refuse(now, what, nullptr);
    if (idle_) idle_();
    const auto waited = Clock::now() - start;
    if (waited > patience_) {
      fail(ExitStatus::retry, "{}: rank {} of {} waited {:.1f} s for the others", what, rank_, size_,
           std::chrono::duration<double>(waited).count());
    }
    if (waited < std::chrono::milliseconds(1))
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void Communicator::give_up(const char* what) {
  fail(ExitStatus::retry, "{}: the communication of rank {} of {} was aborted", what, rank_, size_);
}

void Communicator::all_reduce(void* values, std::int64_t count, cudaStream_t stream, ElementType type) {
  call("summing gradients over the GPUs", [&](ncclComm_t communicator) {
    return ncclAllReduce(values, values, static_cast<std::size_t>(count), library_type(type), ncclSum, communicator,
                         stream);
  });
}

void Communicator::exchange(std::span<const Send> sends, std::span<const Receive> receives, cudaStream_t stream) {
  constexpr const char* kWhat = "exchanging gradients between the GPUs";
  if (sends.empty() && receives.empty()) return;
  call(kWhat, [&](ncclComm_t communicator) {
    Grouped group;
    for (const Send& s : sends) {
      DPTRAIN_CHECK(s.peer != rank_, "rank {} would send to itself", rank_);
      noted(ncclSend(s.values, static_cast<std::size_t>(s.count), ncclFloat32, s.peer, communicator, stream), kWhat);
    }
    for (const Receive& r : receives) {
      DPTRAIN_CHECK(r.peer != rank_, "rank {} would receive from itself", rank_);
      noted(ncclRecv(r.values, static_cast<std::size_t>(r.count), ncclFloat32, r.peer, communicator, stream), kWhat);
    }
    return group.end();
  });
}

void Communicator::all_gather(float* values, std::span<const Slice> slices, cudaStream_t stream) {
  const std::vector<Slice> group(slices.begin(), slices.end());
  all_gather(values, std::span(&group, 1), stream);
}

void Communicator::all_gather(float* values, std::span<const std::vector<Slice>> groups, cudaStream_t stream) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (const std::vector<Slice>& slices : groups) {
    DPTRAIN_CHECK(static_cast<int>(slices.size()) == size_, "{} slices for {} ranks", slices.size(), size_);
    const Slice own = slices[static_cast<std::size_t>(rank_)];
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      const Slice theirs = slices[static_cast<std::size_t>(peer)];
      if (own.count > 0) sends.push_back({peer, values + own.first, own.count});
      if (theirs.count > 0) receives.push_back({peer, values + theirs.first, theirs.count});
    }
  }
  exchange(sends, receives, stream);
}

std::string Communicator::async_error() {
  const std::lock_guard lock(mutex_);
  if (aborted_) return "aborted";
  ncclResult_t state = ncclSuccess;
  if (handle_ == nullptr) return {};
  if (const ncclResult_t asked = ncclCommGetAsyncError(handle_, &state); asked != ncclSuccess) state = asked;
  if (state == ncclSuccess || state == ncclInProgress) return {};
  return fmt::format("{} {}", ncclGetErrorString(state), ncclGetLastError(handle_));
}

void Communicator::abort() noexcept {
  const std::lock_guard lock(mutex_);
  if (handle_ != nullptr) ncclCommAbort(handle_);
  handle_ = nullptr;
  aborted_ = true;
}

ncclUniqueId NcclGroup::make_id() {
  ncclUniqueId id{};
  check(ncclGetUniqueId(&id), "naming a group of GPUs");
  return id;
}

NcclGroup::NcclGroup(std::span<const int> devices, std::chrono::nanoseconds patience)
    : NcclGroup(make_id(), static_cast<int>(devices.size()), 0, devices, patience) {}

NcclGroup::NcclGroup(const ncclUniqueId& id, int size, int first_rank, std::span<const int> devices,
                     std::chrono::nanoseconds patience, const std::function<void()>& idle) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    ranks_.push_back(
        std::make_unique<Communicator>(first_rank + static_cast<int>(i), size, devices[i], patience, idle));
  }
  try {
    create(id);
  } catch (...) {
    abort();
    throw;
  }
}

void NcclGroup::create(const ncclUniqueId& id) {
  if (const int version = library_version(); version < kOldest) {
    fail(ExitStatus::failed, "NCCL {}.{}.{} is loaded, and 2.27.3 or later is needed", version / 10000,
         version / 100 % 100, version % 100);
  }
  constexpr const char* kWhat = "joining the GPUs of a run";
  {
    Grouped group;
    for (const auto& rank : ranks_) {
      const OnDevice device(rank->device_);  // a communicator belongs to the device that is current when it is made
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      noted(ncclCommInitRankConfig(&rank->handle_, rank->size_, id, rank->rank_, &config), kWhat);
    }
    noted(group.end(), kWhat);
  }
  for (const auto& rank : ranks_) {
    DPTRAIN_CHECK(rank->handle_ != nullptr, "NCCL made no communicator for rank {}", rank->rank_);
    rank->settle(kWhat);
  }
}

NcclGroup::~NcclGroup() {
  try {
    close();
  } catch (...) {  // the run has failed elsewhere, or a peer is gone: what is left can only be given up
    abort();
  }
}

void NcclGroup::close() {
  constexpr const char* kWhat = "closing the GPUs' communication";
  // NCCL gives the thread back the device that it found, which for a thread that never chose one is the first GPU,
  // perhaps another's.
  if (!ranks_.empty()) cuda::use_device(ranks_.front()->device_);
  // Finalising is collective, so all begin, in one group, before the first is waited for.
  {
    Grouped group;
    for (const auto& rank : ranks_) {
      const std::lock_guard lock(rank->mutex_);
      if (rank->handle_ != nullptr) noted(ncclCommFinalize(rank->handle_), kWhat);
    }
    noted(group.end(), kWhat);
  }
  for (const auto& rank : ranks_) {
    {
      const std::lock_guard lock(rank->mutex_);
      if (rank->aborted_) continue;
    }
    rank->settle(kWhat);
  }
  for (const auto& rank : ranks_) {
    const std::lock_guard lock(rank->mutex_);
    if (rank->handle_ != nullptr) check(ncclCommDestroy(std::exchange(rank->handle_, nullptr)), kWhat);
  }
}

void NcclGroup::abort(const std::string& why) noexcept {
  const LastResort last_resort(std::chrono::seconds(10),
                               why.empty() ? "the communication of the GPUs could not be given up" : why);
  for (const auto& rank : ranks_) rank->abort();
}

}  // namespace dptrain::nccl
