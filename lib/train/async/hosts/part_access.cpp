#include "train/async/hosts/part_access.h"

#include "train/async/hosts/part_messages.h"

namespace dptrain {

PartAccess::PartAccess(const std::vector<StorePlace>& places, const std::vector<const Line*>& lines, PartKeeper* keeper,
                       std::function<void(int)> broken)
    : first_shard_(places.front().shards.last), keeper_(keeper), broken_(std::move(broken)) {
  for (std::size_t k = 1; k < places.size(); ++k) parts_.push_back({places[k], lines[k - 1]});
}

template <class Say>
void PartAccess::ask(const Part& part, const Say& say) const {
  if (part.line == nullptr) return;
  try {
    say(*part.line);
  } catch (const LineCut&) {
    broken_(part.place.process);
  }
}

void PartAccess::pull(float* weights, std::int64_t at_least, std::span<std::int64_t> read) const {
  for (const Part& part : parts_) ask(part, [&](const Line& line) { line.send(PartRequest{.at_least = at_least}); });
  for (const Part& part : parts_) {
    float* to = weights + part.place.floats.first;
    const auto versions = read.subspan(static_cast<std::size_t>(part.place.shards.first - first_shard_),
                                       static_cast<std::size_t>(part.place.shards.count()));
    if (part.line == nullptr) keeper_->pull(to, at_least, versions);
    ask(part, [&](const Line& line) {
      line.receive(versions.data(), versions.size_bytes());
      line.receive(to, part.bytes());
    });
  }
}

void PartAccess::push(const float* gradient, int buffer) const {
  for (const Part& part : parts_) {
    const float* from = gradient + part.place.floats.first;
    if (part.line == nullptr) keeper_->push(buffer, from);
    ask(part, [&](const Line& line) {
      line.send(PartRequest{.buffer = buffer});
      line.send(from, part.bytes());
    });
  }
  for (const Part& part : parts_) ask(part, [](const Line& line) { static_cast<void>(line.receive<PartRequest>()); });
}

}  // namespace dptrain
