// How the calls of the NCCL double's ranks find each other.
#include "support/fake_cuda/nccl_ranks.h"

namespace fake_nccl {

State& global() {
  static State state;
  return state;
}

Group& this_threads_group() {
  thread_local Group group;
  return group;
}

void require_live(ncclComm_t communicator) {
  if (!global().live.contains(communicator)) misuse("a communicator that does not exist");
}

static std::size_t size_of(ncclDataType_t type) {
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

bool all_joined(Clique& clique) {
  if (!clique.folder) return clique.joined >= static_cast<int>(clique.ranks.size());
  if (!clique.folder->all_joined()) return false;
  if (clique.folder->refusal() == ncclSuccess) return true;
  for (const ncclComm_t rank : clique.ranks)
    if (rank != nullptr) rank->error = clique.folder->refusal();
  return true;
}

bool all_finalized(const Clique& clique) {
  if (clique.folder) return clique.folder->all_finalized();
  return clique.finalized >= static_cast<int>(clique.ranks.size());
}

bool settled(ncclComm_t communicator) {
  if (!all_joined(*communicator->clique)) return false;
  bool all = true;  // each is brought further: between processes a sender waits for its receiver
  for (const auto& [stream, posted] : communicator->pending) all = fake_nccl::enqueued(posted) && all;
  return all;
}

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

static ncclResult_t add(std::unique_lock<std::mutex>& lock, ncclComm_t communicator, cudaStream_t stream,
                        Posted posted) {
  if (this_threads_group().depth > 0) {
    this_threads_group().calls.push_back({communicator, stream, std::move(posted)});
    return ncclSuccess;
  }
  return launch(lock, {{communicator, stream, std::move(posted)}}, {});
}

/// Fills a part, and compares what the ranks say of the whole.
static Posted fill(const std::shared_ptr<Exchange>& exchange, std::size_t index, const Exchange& wanted,
                   ncclComm_t communicator, const void* send, void* receive, cudaStream_t stream) {
  if (exchange->kind != wanted.kind) misuse("the ranks' operations come in different orders");
  if (exchange->count != wanted.count || exchange->type != wanted.type || exchange->root != wanted.root)
    misuse("the ranks ask for different counts, types or roots: " + std::to_string(exchange->count) + " and " +
           std::to_string(wanted.count) + " elements");
  fake_nccl::Part& part = exchange->parts[index];
  part.send = send;
  part.receive = receive;
  part.stream = stream;
  part.device = communicator->device;
  return {exchange, index};
}

static std::shared_ptr<Exchange> exchange_like(const Exchange& wanted) {
  auto made = std::make_shared<Exchange>(wanted.kind, wanted.parts.size());
  made->count = wanted.count, made->element = wanted.element, made->root = wanted.root, made->type = wanted.type;
  return made;
}

/// The exchange of this rank with ranks of other processes.
static std::shared_ptr<Exchange> exchange_by_mail(const Exchange& wanted, ncclComm_t communicator,
                                                  const std::vector<int>& to, const std::vector<int>& from) {
  auto made = exchange_like(wanted);
  made->mail = std::make_unique<fake_nccl::Mail>();
  made->mail->folder = communicator->clique->folder.get();
  made->mail->rank = communicator->rank;
  for (const int peer : to) made->mail->out.push_back({communicator->rank, peer, communicator->sent[peer]++});
  for (const int peer : from) made->mail->in.push_back({peer, communicator->rank, communicator->received[peer]++});
  return made;
}

static std::vector<int> all_but(int rank, std::size_t ranks) {
  std::vector<int> others;
  for (int r = 0; r < static_cast<int>(ranks); ++r)
    if (r != rank) others.push_back(r);
  return others;
}

static void require_usable(ncclComm_t communicator) {
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
  wanted.count = count, wanted.element = size_of(type), wanted.root = root, wanted.type = type;
  std::erase_if(clique.collectives, [](const auto& numbered) {
    return std::ranges::all_of(numbered.second->parts, [](const fake_nccl::Part& part) { return part.posted; });
  });
  std::shared_ptr<Exchange> exchange;
  if (clique.folder) {
    const std::vector<int> others = all_but(communicator->rank, clique.ranks.size());
    exchange = exchange_by_mail(wanted, communicator, others, others);
  } else {
    auto& shared = clique.collectives[communicator->collectives++];
    if (!shared) shared = exchange_like(wanted);
    exchange = shared;
  }
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
  wanted.count = count, wanted.element = size_of(type), wanted.type = type;
  if (clique.folder) {
    const std::vector<int> with{peer}, without;
    const auto exchange = side == 0 ? exchange_by_mail(wanted, communicator, with, without)
                                    : exchange_by_mail(wanted, communicator, without, with);
    return add(lock, communicator, stream, fill(exchange, side, wanted, communicator, send, receive, stream));
  }
  auto& queue = clique.messages[side == 0 ? std::pair(communicator->rank, peer) : std::pair(peer, communicator->rank)];
  const auto lacking = [&](const auto& e) { return e->parts[side].stream == nullptr && !e->parts[side].posted; };
  const auto found = std::find_if(queue.begin(), queue.end(), lacking);
  const std::shared_ptr<Exchange> exchange = found != queue.end() ? *found : queue.emplace_back(exchange_like(wanted));
  const Posted posted = fill(exchange, side, wanted, communicator, send, receive, stream);
  if (exchange->parts[1 - side].stream != nullptr) std::erase(queue, exchange);
  return add(lock, communicator, stream, posted);
}

void remove(ncclComm_t communicator) {
  if (communicator->clique->folder) communicator->clique->folder->leave(communicator->rank);
  communicator->clique->ranks[static_cast<std::size_t>(communicator->rank)] = nullptr;
  global().live.erase(communicator);
  delete communicator;
}

void move(Exchange& exchange, Mover& mover) {
  const std::size_t bytes = exchange.count * exchange.element;
  std::vector<Part>& parts = exchange.parts;
  const Part& root = parts[static_cast<std::size_t>(exchange.root)];
  switch (exchange.kind) {
    case Kind::all_reduce:
      if (parts[0].send != parts[0].receive) mover.copy(parts[0].send, parts[0].receive, bytes);
      for (std::size_t r = 1; r < parts.size(); ++r)
        mover.add(parts[r].send, parts[0].receive, exchange.count, exchange.type);
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
