#include "train/async/hosts/server_commands.h"

#include <algorithm>

#include "comm/communicator.h"
#include "train/gradient_reducer.h"

namespace dptrain {

ServerCommands::ServerCommands(const std::vector<StorePlace>& places, const std::vector<const Connection*>& connections,
                               bool clips, std::function<void(int)> broken,
                               std::function<void(std::exception_ptr)> failed)
    : clips_(clips), broken_(std::move(broken)), failed_(std::move(failed)) {
  constexpr std::int64_t kChunk = GradientReducer::kChunk;
  for (std::size_t k = 1; k < places.size(); ++k)
    servers_.push_back({.process = places[k].process,
                        .chunks = (places[k].floats.count() + kChunk - 1) / kChunk,
                        .connection = connections[k - 1]});
  try {
    for (std::size_t k = 0; k < servers_.size(); ++k) servers_[k].thread = std::thread([this, k] { live(k); });
  } catch (...) {  // there are too many threads
    end();
    throw;
  }
}

ServerCommands::~ServerCommands() {
  end();
}

void ServerCommands::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (Server& server : servers_)
    if (server.thread.joinable()) server.thread.join();
}

void ServerCommands::cut() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cut_ = true;
  }
  changed_.notify_all();
  for (const Server& server : servers_) server.connection->cut();
}

std::int64_t ServerCommands::give(Command command) {
  const std::lock_guard lock(mutex_);
  commands_.push_back(std::move(command));
  changed_.notify_all();
  return first_ + static_cast<std::int64_t>(commands_.size());
}

std::int64_t ServerCommands::add(int left, int right) {
  return give({.head = {.left = left, .right = right}});
}

std::int64_t ServerCommands::announce(std::int64_t version, const VersionUpdate& update,
                                      const std::vector<int>& buffers) {
  Command command{.head = {.version = version,
                           .leaves = static_cast<std::int32_t>(update.leaves.size()),
                           .samples = update.samples,
                           .rule = update.rule}};
  for (std::size_t k = 0; k < update.leaves.size(); ++k) command.leaves.push_back({buffers[k], update.leaves[k].scale});
  return give(std::move(command));
}

void ServerCommands::wait(std::int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return cut_ ||
           std::all_of(servers_.begin(), servers_.end(), [&](const Server& server) { return server.done >= number; });
  });
  if (cut_) throw GroupAborted{};
}

double ServerCommands::norm(std::int64_t version, const std::vector<double>& squares) {
  std::unique_lock lock(mutex_);
  Norm& mine = norms_[version];
  mine.squares.resize(servers_.size());
  changed_.wait(lock, [&] {
    return cut_ || std::none_of(mine.squares.begin(), mine.squares.end(), [](const auto& one) { return one.empty(); });
  });
  if (cut_) return 1;  // nobody will see what becomes of it
  std::vector<double> all = squares;
  for (const std::vector<double>& one : mine.squares) all.insert(all.end(), one.begin(), one.end());
  mine.norm = norm_of(version, all);
  mine.known = true;
  changed_.notify_all();
  return mine.norm;
}

std::optional<ServerCommands::Command> ServerCommands::next(std::int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock,
                [&] { return cut_ || closing_ || first_ + static_cast<std::int64_t>(commands_.size()) > number; });
  if (cut_ || closing_) return std::nullopt;
  return commands_[static_cast<std::size_t>(number - first_)];
}

void ServerCommands::live(std::size_t k) {
  Server& server = servers_[k];
  try {
    for (std::int64_t number = 0;; ++number) {
      const std::optional<Command> command = next(number);
      if (!command) return;
      carry_out(k, *command);
      note_done(server);
    }
  } catch (const ConnectionLost&) {
    broken_(server.process);
  } catch (...) {
    failed_(std::current_exception());
  }
}

void ServerCommands::carry_out(std::size_t k, const Command& command) {
  const Connection& connection = *servers_[k].connection;
  connection.send(command.head);
  if (!command.leaves.empty()) {
    connection.send(command.leaves.data(), command.leaves.size() * sizeof(CommandLeaf));
    if (clips_) share_norm(k, command.head.version);
  }
  static_cast<void>(connection.receive<CommandDone>());
}

void ServerCommands::share_norm(std::size_t k, std::int64_t version) {
  const Connection& connection = *servers_[k].connection;
  std::vector<double> squares(static_cast<std::size_t>(servers_[k].chunks));
  connection.receive(squares.data(), squares.size() * sizeof(double));
  std::unique_lock lock(mutex_);
  Norm& all = norms_[version];
  all.squares.resize(servers_.size());
  all.squares[k] = std::move(squares);
  changed_.notify_all();
  changed_.wait(lock, [&] { return cut_ || all.known; });
  const double norm = all.norm;
  if (++all.taken == servers_.size() && all.known) norms_.erase(version);
  lock.unlock();
  connection.send(norm);
}

void ServerCommands::note_done(Server& server) {
  const std::lock_guard lock(mutex_);
  ++server.done;
  while (!commands_.empty() &&
         std::all_of(servers_.begin(), servers_.end(), [&](const Server& other) { return other.done > first_; })) {
    commands_.pop_front();
    ++first_;
  }
  changed_.notify_all();
}

}  // namespace dptrain
