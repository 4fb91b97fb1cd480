#include "data/fingerprint.h"

#include <algorithm>
#include <vector>

#include "data/sampler.h"

namespace dptrain {

void add_samples(Hash128& hash, const Dataset& data) {
  const std::int64_t facts[] = {data.size(), data.classes(), data.shape().elements()};
  hash.update(facts, sizeof facts);
  if (const ByteSamples* bytes = data.as_bytes()) {
    hash.update(bytes->pixels.data(), bytes->pixels.size());
    hash.update(bytes->labels.data(), bytes->labels.size());
    return;
  }
  constexpr std::int64_t kSome = 64;
  const std::vector<std::int64_t> ids = some_samples(data.size(), std::min(kSome, data.size()));
  std::vector<float> samples(ids.size() * static_cast<std::size_t>(data.shape().elements()));
  std::vector<std::int32_t> labels(ids.size());
  data.gather(ids, samples.data(), labels.data());
  hash.update(samples.data(), samples.size() * sizeof(float));
  hash.update(labels.data(), labels.size() * sizeof(std::int32_t));
}

}  // namespace dptrain
