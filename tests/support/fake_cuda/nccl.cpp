// NCCL's functions.
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "support/fake_cuda/nccl_ranks.h"

using namespace fake_nccl;

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = fake_nccl::version();
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) {
  const std::lock_guard lock(global().mutex);
  std::memset(uniqueId->internal, 0, sizeof uniqueId->internal);
  const std::string name = "group " + std::to_string(++global().ids) + " of " + std::to_string(getpid()) + " at " +
                           std::to_string(std::chrono::steady_clock::now().time_since_epoch().count());
  std::memcpy(uniqueId->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config) {
  std::unique_lock lock(global().mutex);
  if (config == nullptr || config->magic != 0xcafebeef || config->size != sizeof(ncclConfig_t))
    misuse("a configuration without its initialiser");
  if (comm == nullptr || nranks <= 0 || rank < 0 || rank >= nranks) return ncclInvalidArgument;
  const std::string name(commId.internal);
  if (!name.starts_with("group ")) misuse("an id that ncclGetUniqueId did not make");
  auto& clique = global().cliques[name];
  if (!clique) {
    clique = std::make_shared<Clique>();
    clique->ranks.resize(static_cast<std::size_t>(nranks));
    if (nranks > 1) clique->folder = Folder::open(name, nranks);
    if (!clique->folder && nranks > 1 && name.find(" of " + std::to_string(getpid()) + " at ") == std::string::npos)
      misuse("ranks of several processes need a folder to meet in: FAKE_NCCL_FOLDER");
  }
  global().latest = clique;
  if (static_cast<int>(clique->ranks.size()) != nranks) misuse("the ranks disagree about how many there are");
  ncclComm_t& place = clique->ranks[static_cast<std::size_t>(rank)];
  if (place != nullptr) misuse("two ranks " + std::to_string(rank));
  auto made = std::make_unique<ncclComm>();
  made->clique = clique;
  made->rank = rank;
  made->blocking = config->blocking != 0;
  if (cudaGetDevice(&made->device) != cudaSuccess) return ncclUnhandledCudaError;
  if (clique->folder) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, made->device) != cudaSuccess) return ncclUnhandledCudaError;
    clique->folder->join(rank, std::string(properties.uuid.bytes, sizeof properties.uuid.bytes));
  }
  place = *comm = made.release();
  global().live.insert(place);
  ++clique->joined;
  if (this_threads_group().depth > 0) {
    this_threads_group().made.push_back(place);
    return ncclSuccess;
  }
  return launch(lock, {}, {place});
}

ncclResult_t ncclGroupStart() {
  ++this_threads_group().depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (this_threads_group().depth == 0) return ncclInvalidUsage;
  if (--this_threads_group().depth > 0) return ncclSuccess;
  const Group ended = std::exchange(this_threads_group(), Group{});
  if (!ended.calls.empty() && !ended.made.empty()) misuse("communicators are made and used in one group");
  std::unique_lock lock(global().mutex);
  return launch(lock, ended.calls, ended.made);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  std::unique_lock lock(global().mutex);
  require_live(comm);
  if (comm->finalizing) return ncclInvalidUsage;
  comm->finalizing = true;
  ++comm->clique->finalized;
  if (comm->clique->folder) comm->clique->folder->finalize(comm->rank);
  if (!comm->blocking) return ncclInProgress;
  while (!drained(comm) || !all_finalized(*comm->clique)) {
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const std::lock_guard lock(global().mutex);
  require_live(comm);
  if (!comm->finalizing || !drained(comm)) misuse("a communicator is destroyed before it is finalised");
  remove(comm);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  {
    const std::lock_guard lock(global().mutex);
    require_live(comm);
    for (const auto& [stream, posted] : comm->pending) {
      if (posted.exchange->done) continue;
      posted.exchange->broken = true;
      posted.exchange->parts[posted.part].given_up = true;
    }
    remove(comm);
  }
  global().changed.notify_all();
  fake_nccl::wake_waiters();
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) {
  const std::lock_guard lock(global().mutex);
  require_live(comm);
  *asyncError = ncclSuccess;
  const bool over = settled(comm);
  if (comm->clique->folder && comm->clique->folder->says("error", comm->rank)) comm->error = ncclRemoteError;
  if (comm->error != ncclSuccess) {
    *asyncError = comm->error;
  } else if (comm->finalizing) {
    if (!all_finalized(*comm->clique) || !drained(comm)) *asyncError = ncclInProgress;
  } else if (!over || comm->unseen) {
    *asyncError = ncclInProgress;
  }
  comm->unseen = false;
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  const std::lock_guard lock(global().mutex);
  require_live(comm);
  *count = static_cast<int>(comm->clique->ranks.size());
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  const std::lock_guard lock(global().mutex);
  require_live(comm);
  *rank = comm->rank;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInProgress:
      return "NCCL operation in progress";
    default:
      return "an error of the NCCL double";
  }
}

const char* ncclGetLastError(ncclComm_t /*comm*/) {
  return "";
}

ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, std::size_t count, ncclDataType_t datatype,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const bool known = datatype == ncclFloat32 || datatype == ncclBfloat16 || datatype == ncclFloat16;
  if (!known || op != ncclSum) misuse("the double adds fp32, bf16 and fp16 only");
  return collective(Kind::all_reduce, sendbuff, recvbuff, count, datatype, 0, comm, stream);
}

ncclResult_t ncclAllGather(const void* sendbuff, void* recvbuff, std::size_t sendcount, ncclDataType_t datatype,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective(Kind::all_gather, sendbuff, recvbuff, sendcount, datatype, 0, comm, stream);
}

ncclResult_t ncclBroadcast(const void* sendbuff, void* recvbuff, std::size_t count, ncclDataType_t datatype, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return collective(Kind::broadcast, sendbuff, recvbuff, count, datatype, root, comm, stream);
}

ncclResult_t ncclSend(const void* sendbuff, std::size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return message(0, sendbuff, nullptr, count, datatype, peer, comm, stream);
}

ncclResult_t ncclRecv(void* recvbuff, std::size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return message(1, nullptr, recvbuff, count, datatype, peer, comm, stream);
}

}  // extern "C"
