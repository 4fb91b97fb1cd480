#include "train/async/hosts/parameter_server.h"

#include <omp.h>

#include <cstring>

#include "comm/communicator.h"
#include "train/async/hosts/server_messages.h"
#include "train/float_mode.h"

namespace dptrain {

ParameterServer::ParameterServer(Store& store, std::int64_t version, std::int64_t buffers,
                                 std::function<void(std::exception_ptr)> failed)
    : store_(store), failed_(std::move(failed)), announced_(version) {
  for (std::int64_t k = 0; k < buffers; ++k) gradients_.push_back(Buffer::host_floats(store.part().count()));
}

ParameterServer::~ParameterServer() {
  end();
}

void ParameterServer::end() noexcept {
  cut();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ParameterServer::cut() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cut_ = true;
  }
  changed_.notify_all();
  for (const Connection* connection : connections_) connection->cut();
}

void ParameterServer::serve(const Connection& commands, const std::vector<const Connection*>& replicas) {
  connections_ = {&commands};
  connections_.insert(connections_.end(), replicas.begin(), replicas.end());
  start(&ParameterServer::obey, commands);
  for (const Connection* connection : replicas) start(&ParameterServer::answer, *connection);
}

void ParameterServer::start(void (ParameterServer::*live)(const Connection&), const Connection& connection) {
  threads_.emplace_back([this, live, &connection] {
    omp_set_num_threads(1);
    flush_denormals();  // updates are made here
    try {
      for (;;) (this->*live)(connection);
    } catch (const ConnectionLost&) {  // the end of the run, or of a process, which others see too
    } catch (const GroupAborted&) {
    } catch (...) {
      failed_(std::current_exception());
    }
  });
}

void ParameterServer::obey(const Connection& connection) {
  const auto command = connection.receive<ServerCommand>();
  if (command.leaves == 0)
    add(command.left, command.right);
  else
    apply(command, connection);
  connection.send(CommandDone{command.version});
}

void ParameterServer::add(int left, int right) {
  float* into = gradients_.at(static_cast<std::size_t>(left)).floats();
  const float* from = gradients_.at(static_cast<std::size_t>(right)).floats();
  const std::int64_t count = store_.part().count();
  for (std::int64_t i = 0; i < count; ++i) into[i] = into[i] + from[i];
}

void ParameterServer::apply(const ServerCommand& command, const Connection& connection) {
  std::vector<CommandLeaf> leaves(static_cast<std::size_t>(command.leaves));
  connection.receive(leaves.data(), leaves.size() * sizeof(CommandLeaf));
  VersionUpdate update{.samples = command.samples, .rule = command.rule};
  for (const CommandLeaf& leaf : leaves)
    update.leaves.push_back({gradients_.at(static_cast<std::size_t>(leaf.buffer)).floats(), leaf.scale});
  store_.announce(command.version, std::move(update));
  {
    const std::lock_guard lock(mutex_);
    announced_ = command.version;
  }
  changed_.notify_all();
  store_.apply(command.version);
}

double ParameterServer::norm(const std::vector<double>& squares) {
  const Connection& connection = *connections_.front();
  try {
    connection.send(squares.data(), squares.size() * sizeof(double));
    return connection.receive<double>();
  } catch (const ConnectionLost&) {  // somebody may wait for this version; what becomes of it nobody will see
    return 1;
  }
}

void ParameterServer::pull(float* to, std::int64_t at_least, std::span<std::int64_t> read) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return cut_ || announced_ >= at_least; });
    if (cut_) throw GroupAborted{};
  }
  store_.pull(to, at_least, read);
}

void ParameterServer::push(int buffer, const float* part) {
  std::memcpy(gradients_.at(static_cast<std::size_t>(buffer)).floats(), part, bytes());
}

void ParameterServer::answer(const Connection& connection) {
  const auto request = connection.receive<ReplicaRequest>();
  if (request.buffer != ReplicaRequest::kWeights) {
    connection.receive(gradients_.at(static_cast<std::size_t>(request.buffer)).floats(), bytes());
    connection.send(request);
    return;
  }
  thread_local std::vector<float> weights;
  weights.resize(static_cast<std::size_t>(store_.part().count()));
  std::vector<std::int64_t> read(store_.shards());
  pull(weights.data(), request.at_least, read);
  connection.send(read.data(), read.size() * sizeof(std::int64_t));
  connection.send(weights.data(), bytes());
}

}  // namespace dptrain
