// Purpose: where ranks of the NCCL double meet that are in several processes: a folder, FAKE_NCCL_FOLDER in the
//   environment, in which every rank leaves files for the others. Without it all ranks are in one process.
//   A test puts files of its own there, by rank: `error-R` (NCCL finds out by itself that a peer of rank R is lost) and
//   `stall-R` (what rank R has to send does not get away).
// Thread safety: join(), all_joined(), refusal() and leave() under State::mutex; the rest any thread.
// Invariants: a file appears whole, by one rename. Nobody notices that another process has died: NCCL may not, either.
#pragma once

#include <nccl.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace fake_nccl {

/// The `number`-th from one rank to another, counted from 0.
struct Letter {
  int from = 0, to = 0;
  std::int64_t number = 0;
};

class Folder {
 public:
  /// For the ranks that are made with this id; null where there is no FAKE_NCCL_FOLDER.
  static std::unique_ptr<Folder> open(const std::string& id, int ranks);

  /// `device`: which GPU it is on, as CUDA's UUID.
  void join(int rank, const std::string& device);
  /// Whether all have come, and then what NCCL makes of where they are.
  bool all_joined();
  ncclResult_t refusal() const { return refusal_; }
  void finalize(int rank) const;
  bool all_finalized() const;
  /// Destroyed or aborted. The last one clears up.
  void leave(int rank) const;

  /// `what` describes the letter; the one that takes it has to expect the same.
  void put(const Letter& letter, const std::string& what, const std::vector<char>& bytes) const;
  bool is_there(const Letter& letter) const;
  std::vector<char> take(const Letter& letter, const std::string& what) const;
  /// Whether a test has put `what`-R there.
  bool says(const char* what, int rank) const;

 private:
  Folder(std::filesystem::path all, const std::string& id, int ranks);
  void write(const std::string& name, const std::string& head, const std::vector<char>& bytes) const;
  bool all_have(const char* what) const;

  const std::filesystem::path all_, own_;
  const int ranks_;
  bool joined_ = false;
  ncclResult_t refusal_ = ncclSuccess;
};

/// NCCL's, or FAKE_NCCL_VERSION in the environment.
int version();

}  // namespace fake_nccl
