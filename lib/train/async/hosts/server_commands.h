// Purpose: the first process of an asynchronous run on several hosts tells those that keep parts of the store what to
//   do with them: what it does itself with its own.
// Thread safety: any thread. Invariants: every server is told all commands in the order in which they were given, the
//   next when the last is done; after cut() nobody waits any longer.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "comm/connection.h"
#include "train/async/dispatcher.h"
#include "train/async/hosts/server_messages.h"
#include "train/async/hosts/store_places.h"

namespace dptrain {

class ServerCommands final : public OtherParts {
 public:
  /// To the servers of all parts but the first, over a connection each, which outlive this. `clips`: a version's norm
  /// is asked for. A connection that is cut is said to `broken`, by a thread of this, with the process at its other
  /// end, and anything else to `failed`.
  ServerCommands(const std::vector<StorePlace>& places, const std::vector<const Connection*>& connections, bool clips,
                 std::function<void(int process)> broken, std::function<void(std::exception_ptr)> failed);
  ~ServerCommands() override;
  ServerCommands(const ServerCommands&) = delete;
  ServerCommands& operator=(const ServerCommands&) = delete;

  std::int64_t add(int left, int right) override;
  std::int64_t announce(std::int64_t version, const VersionUpdate& update, const std::vector<int>& buffers) override;
  void wait(std::int64_t number) override;
  /// The norm of a version that is announced, from the squares of the first part's chunks.
  double norm(std::int64_t version, const std::vector<double>& squares);
  void cut() noexcept;
  /// All commands are carried out, or it was cut: its threads are over when it returns.
  void end() noexcept;

 private:
  struct Command {
    ServerCommand head;
    std::vector<CommandLeaf> leaves{};
  };
  /// What is asked about a version while it is applied.
  struct Norm {
    std::vector<std::vector<double>> squares;  // by server
    std::size_t taken = 0;
    bool known = false;
    double norm = 0;
  };
  struct Server {
    int process = 0;
    std::int64_t chunks = 0;
    const Connection* connection = nullptr;
    std::int64_t done = 0;  // commands
    std::thread thread{};
  };
  std::int64_t give(Command command);
  void live(std::size_t k);
  /// Nothing where there will be no more.
  std::optional<Command> next(std::int64_t number);
  void carry_out(std::size_t k, const Command& command);
  void share_norm(std::size_t k, std::int64_t version);
  void note_done(Server& server);

  const bool clips_;
  const std::function<void(int)> broken_;
  const std::function<void(std::exception_ptr)> failed_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Command> commands_;  // that not all have done
  std::int64_t first_ = 0;        // the number of the first of them
  std::map<std::int64_t, Norm> norms_;
  bool cut_ = false, closing_ = false;
  std::vector<Server> servers_;
};

}  // namespace dptrain
