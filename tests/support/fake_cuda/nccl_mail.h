// Purpose: an exchange of the NCCL double with ranks of other processes, as letters through their Folder: a collective
//   is a letter to and from every other rank. How a rank's bytes leave and reach its device is the transport's.
// Thread safety: one thread at a time.
#pragma once

#include <nccl.h>

#include <memory>
#include <string>
#include <vector>

#include "support/fake_cuda/nccl_folder.h"

namespace fake_nccl {

struct Exchange;

/// One rank's side of such an exchange.
struct Mail {
  const Folder* folder = nullptr;
  int rank = 0;
  std::vector<Letter> out, in;  // in: by rank, without its own
  std::vector<char> brought;    // by this rank, as it was when its stream came to it
  // What a transport remembers on the way.
  enum class Stage { waits, sent, received } stage = Stage::waits;
  std::shared_ptr<void> mark;
};

/// onto[i] += from[i], in host memory.
void add(const void* from, void* onto, std::size_t count, ncclDataType_t type);
/// How many bytes this rank brings to the exchange, and takes from it.
std::size_t bytes_out(const Exchange& exchange);
std::size_t bytes_in(const Exchange& exchange);
/// `brought` is on its way to all others.
void send(const Exchange& exchange, std::vector<char> brought);
/// Whether there is something from all others.
bool has_come(const Exchange& exchange);
/// What the exchange gives this rank; sums are in the order of the ranks.
std::vector<char> receive(const Exchange& exchange);
/// Whether the others have taken what this rank sent: NCCL's senders wait for that.
bool is_taken(const Exchange& exchange);

}  // namespace fake_nccl
