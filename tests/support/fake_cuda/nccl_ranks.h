// Purpose: the ranks of the NCCL double, and how their calls find each other.
// Thread safety: under State::mutex, but for a thread's own group.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "support/fake_cuda/fake_nccl.h"
#include "support/fake_cuda/nccl_transport.h"

namespace fake_nccl {

/// The ranks that were made with one id, in this process.
struct Clique {
  std::vector<ncclComm_t> ranks;  // null: has not come, or has gone
  int joined = 0, finalized = 0;
  std::map<std::int64_t, std::shared_ptr<Exchange>> collectives;                  // by their number
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Exchange>>> messages;  // (from, to), those that lack a side
  std::unique_ptr<Folder> folder;  // where they meet those of other processes; null: there are none
};
/// Whether all ranks have come; what NCCL then finds wrong with where they are is every communicator's error.
bool all_joined(Clique& clique);
bool all_finalized(const Clique& clique);

}  // namespace fake_nccl

struct ncclComm {
  std::shared_ptr<fake_nccl::Clique> clique;
  int rank = 0, device = 0;
  bool blocking = true, finalizing = false;
  bool unseen = false;  // a call has answered "in progress" and nobody has asked since
  std::int64_t collectives = 0;
  std::map<int, std::int64_t> sent, received;  // letters, by peer
  ncclResult_t error = ncclSuccess;
  std::vector<std::pair<cudaStream_t, fake_nccl::Posted>> pending;
};

namespace fake_nccl {

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::shared_ptr<Clique>> cliques;
  std::set<ncclComm_t> live;
  std::shared_ptr<Clique> latest;
  int ids = 0;
};
State& global();

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
Group& this_threads_group();

void require_live(ncclComm_t communicator);
/// Whether nothing is in progress any more: all ranks have joined, and what was called is on the streams.
bool settled(ncclComm_t communicator);
/// Whether all that was posted has run. Asks the streams, since nothing runs by itself on the fake runtime.
bool drained(ncclComm_t communicator);
/// Posts a group's calls: all of a communicator's on a stream at once.
ncclResult_t launch(std::unique_lock<std::mutex>& lock, std::vector<Group::Call> calls,
                    const std::vector<ncclComm_t>& made);
ncclResult_t collective(Kind kind, const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                        ncclComm_t communicator, cudaStream_t stream);
/// Side 0 sends, side 1 receives.
ncclResult_t message(std::size_t side, const void* send, void* receive, std::size_t count, ncclDataType_t type,
                     int peer, ncclComm_t communicator, cudaStream_t stream);
void remove(ncclComm_t communicator);

}  // namespace fake_nccl
