#include "train/async/hosts/parameter_client.h"

#include "train/async/hosts/server_messages.h"

namespace dptrain {

ParameterClient::ParameterClient(const std::vector<StorePlace>& places,
                                 const std::vector<const Connection*>& connections, ParameterServer* server,
                                 std::function<void(int)> broken)
    : first_shard_(places.front().shards.last), server_(server), broken_(std::move(broken)) {
  for (std::size_t k = 1; k < places.size(); ++k) parts_.push_back({places[k], connections[k - 1]});
}

template <class Say>
void ParameterClient::ask(const Part& part, const Say& say) const {
  if (part.connection == nullptr) return;
  try {
    say(*part.connection);
  } catch (const ConnectionLost&) {
    broken_(part.place.process);
  }
}

void ParameterClient::pull(float* weights, std::int64_t at_least, std::span<std::int64_t> read) const {
  for (const Part& part : parts_)
    ask(part, [&](const Connection& connection) { connection.send(ReplicaRequest{.at_least = at_least}); });
  for (const Part& part : parts_) {
    float* to = weights + part.place.floats.first;
    const auto versions = read.subspan(static_cast<std::size_t>(part.place.shards.first - first_shard_),
                                       static_cast<std::size_t>(part.place.shards.count()));
    if (part.connection == nullptr) server_->pull(to, at_least, versions);
    ask(part, [&](const Connection& connection) {
      connection.receive(versions.data(), versions.size_bytes());
      connection.receive(to, part.bytes());
    });
  }
}

void ParameterClient::push(const float* gradient, int buffer) const {
  for (const Part& part : parts_) {
    const float* from = gradient + part.place.floats.first;
    if (part.connection == nullptr) server_->push(buffer, from);
    ask(part, [&](const Connection& connection) {
      connection.send(ReplicaRequest{.buffer = buffer});
      connection.send(from, part.bytes());
    });
  }
  for (const Part& part : parts_)
    ask(part, [](const Connection& connection) { static_cast<void>(connection.receive<ReplicaRequest>()); });
}

}  // namespace dptrain
