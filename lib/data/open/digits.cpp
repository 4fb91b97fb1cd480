#include "data/open/digits.h"

#include <algorithm>
#include <thread>

#include "data/formats/digits.h"
#include "data/open/choices.h"
#include "data/open/in_memory.h"

namespace dptrain {

DatasetPair open_digits(const DatasetSpec& spec, const DatasetDescriptor& descriptor, const DataOptions& options) {
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const auto split = [&](DigitSplit which, std::int64_t count) {
    Digits digits = generate_digits(spec.generator_seed, which, count, threads, options.stop);
    return SplitBytes{std::move(digits.pixels), std::move(digits.labels), count};
  };
  const std::int64_t train = spec.train_samples ? chosen_train_samples(spec, kMostDigits) : descriptor.train_samples;
  const std::int64_t test = spec.test_samples ? chosen_test_samples(spec, kMostDigits) : descriptor.test_samples;
  DatasetPair pair = pair_in_memory(spec, split(DigitSplit::train, train), split(DigitSplit::test, test),
                                    descriptor.shape, descriptor.classes, {descriptor.mean, descriptor.std});
  pair.name = descriptor.name;
  pair.location = "generated";
  return pair;
}

}  // namespace dptrain
