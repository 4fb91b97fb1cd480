// NCCL's functions: communicators, groups of calls, and how the ranks' calls find each other.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "support/fake_cuda/fake_nccl.h"
#include "support/fake_cuda/nccl_transport.h"

using fake_nccl::Exchange;
using fake_nccl::Kind;
using fake_nccl::misuse;
using fake_nccl::Posted;

namespace {

/// The ranks that were made with one id.
struct Clique {
  std::vector<ncclComm_t> ranks;  // null: has not come, or has gone
  int joined = 0, finalized = 0;
  std::map<std::int64_t, std::shared_ptr<Exchange>> collectives;                  // by their number
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Exchange>>> messages;  // (from, to), those that lack a side
};

}  // namespace

struct ncclComm {
  std::shared_ptr<Clique> clique;
  int rank = 0, device = 0;
  bool blocking = true, finalizing = false;
  bool unseen = false;  // a call has answered "in progress" and nobody has asked since
  std::int64_t collectives = 0;
  ncclResult_t error = ncclSuccess;
  std::vector<std::pair<cudaStream_t, Posted>> pending;
};

namespace {

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::shared_ptr<Clique>> cliques;
  std::set<ncclComm_t> live;
  std::shared_ptr<Clique> latest;
  int ids = 0;
};

State& global() {
  static State state;
  return state;
}

/// What this thread has called since ncclGroupStart.
struct Group {
  struct Call {
    ncclComm_t communicator;
    cudaStream_t stream;
    Posted posted;
  };
  int depth = 0;
  std::vector<Call> calls;
  std::vector<ncclComm_t> made;
};
thread_local Group group;

void require_live(ncclComm_t communicator) {
  if (!global().live.contains(communicator)) misuse("a communicator that does not exist");
}

std::size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
    default:
      break;
  }
  misuse("no such type of data");
}

bool settled(ncclComm_t communicator) {
  if (communicator->clique->joined < static_cast<int>(communicator->clique->ranks.size())) return false;
  for (const auto& [stream, posted] : communicator->pending) {
    if (!fake_nccl::enqueued(posted)) return false;
  }
  return true;
}

/// Whether all that was posted has run. Asks the streams, since nothing runs by itself on the fake runtime.
bool drained(ncclComm_t communicator) {
  bool all = true;
  for (const auto& [stream, posted] : communicator->pending) {
    if (posted.exchange->done) continue;
    fake_nccl::encourage(stream);
    all = all && posted.exchange->done;
  }
  if (all) communicator->pending.clear();
  return all;
}

/// Posts a group's calls: all of a communicator's on a stream at once.
ncclResult_t launch(std::unique_lock<std::mutex>& lock, std::vector<Group::Call> calls,
                    const std::vector<ncclComm_t>& made) {
  std::vector<ncclComm_t> involved = made;
  while (!calls.empty()) {
    const ncclComm_t communicator = calls.front().communicator;
    const cudaStream_t stream = calls.front().stream;
    std::vector<Posted> parts;
    std::erase_if(calls, [&](const Group::Call& call) {
      if (call.communicator != communicator || call.stream != stream) return false;
      parts.push_back(call.posted);
      return true;
    });
    std::erase_if(communicator->pending, [](const auto& p) { return p.second.exchange->done.load(); });
    for (const Posted& p : parts) {
      p.exchange->parts[p.part].posted = true;
      communicator->pending.emplace_back(stream, p);
    }
    fake_nccl::post(stream, parts);
    involved.push_back(communicator);
  }
  global().changed.notify_all();
  ncclResult_t result = ncclSuccess;
  for (const ncclComm_t communicator : involved) {
    if (communicator->blocking) {
      global().changed.wait(lock, [&] { return settled(communicator); });
    } else {
      communicator->unseen = true;
      result = ncclInProgress;
    }
  }
  return result;
}

ncclResult_t add(std::unique_lock<std::mutex>& lock, ncclComm_t communicator, cudaStream_t stream, Posted posted) {
  if (group.depth > 0) {
    group.calls.push_back({communicator, stream, std::move(posted)});
    return ncclSuccess;
  }
  return launch(lock, {{communicator, stream, std::move(posted)}}, {});
}

/// Fills a part, and compares what the ranks say of the whole.
Posted fill(const std::shared_ptr<Exchange>& exchange, std::size_t index, const Exchange& wanted,
            ncclComm_t communicator, const void* send, void* receive, cudaStream_t stream) {
  if (exchange->kind != wanted.kind) misuse("the ranks' operations come in different orders");
  if (exchange->count != wanted.count || exchange->element != wanted.element || exchange->root != wanted.root)
    misuse("the ranks ask for different counts, types or roots: " + std::to_string(exchange->count) + " and " +
           std::to_string(wanted.count) + " elements");
  fake_nccl::Part& part = exchange->parts[index];
  part.send = send;
  part.receive = receive;
  part.stream = stream;
  part.device = communicator->device;
  return {exchange, index};
}

std::shared_ptr<Exchange> exchange_like(const Exchange& wanted) {
  auto made = std::make_shared<Exchange>(wanted.kind, wanted.parts.size());
  made->count = wanted.count, made->element = wanted.element, made->root = wanted.root;
  return made;
}

void require_usable(ncclComm_t communicator) {
  require_live(communicator);
  if (!settled(communicator) || communicator->unseen) misuse("a call while the one before is in progress");
  if (communicator->finalizing) misuse("an operation on a communicator that is being finalised");
}

ncclResult_t collective(Kind kind, const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                        ncclComm_t communicator, cudaStream_t stream) {
  std::unique_lock lock(global().mutex);
  require_usable(communicator);
  if (communicator->error != ncclSuccess) return communicator->error;
  Clique& clique = *communicator->clique;
  if (root < 0 || root >= static_cast<int>(clique.ranks.size())) return ncclInvalidArgument;
  Exchange wanted(kind, clique.ranks.size());
  wanted.count = count, wanted.element = size_of(type), wanted.root = root;
  std::erase_if(clique.collectives, [](const auto& numbered) {
    return std::ranges::all_of(numbered.second->parts, [](const fake_nccl::Part& part) { return part.posted; });
  });
  auto& exchange = clique.collectives[communicator->collectives++];
  if (!exchange) exchange = exchange_like(wanted);
  const auto index = static_cast<std::size_t>(communicator->rank);
  const Posted posted = fill(exchange, index, wanted, communicator, send, receive, stream);
  return add(lock, communicator, stream, posted);
}

ncclResult_t message(std::size_t side, const void* send, void* receive, std::size_t count, ncclDataType_t type,
                     int peer, ncclComm_t communicator, cudaStream_t stream) {
  std::unique_lock lock(global().mutex);
  require_usable(communicator);
  if (communicator->error != ncclSuccess) return communicator->error;
  Clique& clique = *communicator->clique;
  if (peer < 0 || peer >= static_cast<int>(clique.ranks.size())) return ncclInvalidArgument;
  Exchange wanted(Kind::point_to_point, 2);
  wanted.count = count, wanted.element = size_of(type);
  auto& queue = clique.messages[side == 0 ? std::pair(communicator->rank, peer) : std::pair(peer, communicator->rank)];
  const auto lacking = [&](const auto& e) { return e->parts[side].stream == nullptr && !e->parts[side].posted; };
  const auto found = std::find_if(queue.begin(), queue.end(), lacking);
  const std::shared_ptr<Exchange> exchange = found != queue.end() ? *found : queue.emplace_back(exchange_like(wanted));
  const Posted posted = fill(exchange, side, wanted, communicator, send, receive, stream);
  if (exchange->parts[1 - side].stream != nullptr) std::erase(queue, exchange);
  return add(lock, communicator, stream, posted);
}

void remove(ncclComm_t communicator) {
  communicator->clique->ranks[static_cast<std::size_t>(communicator->rank)] = nullptr;
  global().live.erase(communicator);
  delete communicator;
}

}  // namespace

namespace fake_nccl {

void move(Exchange& exchange, Mover& mover) {
  const std::size_t bytes = exchange.count * exchange.element;
  std::vector<Part>& parts = exchange.parts;
  const Part& root = parts[static_cast<std::size_t>(exchange.root)];
  switch (exchange.kind) {
    case Kind::all_reduce:
      if (parts[0].send != parts[0].receive) mover.copy(parts[0].send, parts[0].receive, bytes);
      for (std::size_t r = 1; r < parts.size(); ++r) mover.add(parts[r].send, parts[0].receive, exchange.count);
      for (std::size_t r = 1; r < parts.size(); ++r) mover.copy(parts[0].receive, parts[r].receive, bytes);
      return;
    case Kind::all_gather:
      for (const Part& to : parts) {
        for (std::size_t r = 0; r < parts.size(); ++r) {
          void* place = static_cast<char*>(to.receive) + r * bytes;
          if (parts[r].send != place) mover.copy(parts[r].send, place, bytes);
        }
      }
      return;
    case Kind::broadcast:
      for (const Part& to : parts) {
        if (root.send != to.receive) mover.copy(root.send, to.receive, bytes);
      }
      return;
    case Kind::point_to_point:
      mover.copy(parts[0].send, parts[1].receive, bytes);
      return;
  }
}

void set_async_error(int rank, ncclResult_t error) {
  const std::lock_guard lock(global().mutex);
  if (global().latest == nullptr) misuse("no group was made yet");
  const ncclComm_t communicator = global().latest->ranks.at(static_cast<std::size_t>(rank));
  if (communicator == nullptr) misuse("that rank has gone");
  communicator->error = error;
}

int live_communicators() {
  const std::lock_guard lock(global().mutex);
  return static_cast<int>(global().live.size());
}

}  // namespace fake_nccl

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) {
  const std::lock_guard lock(global().mutex);
  std::memset(uniqueId->internal, 0, sizeof uniqueId->internal);
  const std::string name = "group " + std::to_string(++global().ids);
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
  place = *comm = made.release();
  global().live.insert(place);
  ++clique->joined;
  if (group.depth > 0) {
    group.made.push_back(place);
    return ncclSuccess;
  }
  return launch(lock, {}, {place});
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return ncclInvalidUsage;
  if (--group.depth > 0) return ncclSuccess;
  const Group ended = std::exchange(group, Group{});
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
  if (!comm->blocking) return ncclInProgress;
  while (!drained(comm) || comm->clique->finalized < static_cast<int>(comm->clique->ranks.size())) {
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
  if (comm->error != ncclSuccess) {
    *asyncError = comm->error;
  } else if (comm->finalizing) {
    const bool all = comm->clique->finalized == static_cast<int>(comm->clique->ranks.size());
    if (!all || !drained(comm)) *asyncError = ncclInProgress;
  } else if (!settled(comm) || comm->unseen) {
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
  if (datatype != ncclFloat32 || op != ncclSum) misuse("the double adds floats only");
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
