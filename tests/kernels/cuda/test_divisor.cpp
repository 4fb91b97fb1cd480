// Quotients without a division, against the processor's, where they are likeliest to be off by one.
#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/divisor.h"

using dptrain::cuda::Divisor;

TEST_CASE("quotients and remainders by every kind of divisor, up to the largest numbers") {
  constexpr std::int64_t kEnd = std::int64_t{1} << 31;
  std::int64_t wrong = 0;
  const auto check = [&](std::int64_t by, std::int64_t number) {
    if (number < 0 || number >= kEnd) return;
    auto left = static_cast<std::uint32_t>(number);
    const std::uint32_t quotient = Divisor(by).divide(left);
    wrong += quotient != number / by || left != number % by;
  };
  const auto check_divisor = [&](std::int64_t by) {
    if (by < 1 || by > kEnd) return;
    for (std::int64_t power = 1; power <= kEnd; power *= 2)
      for (std::int64_t near = -2; near <= 2; ++near) check(by, power + near);
    for (const std::int64_t many : {std::int64_t{1}, std::int64_t{7}, kEnd / by / 2, kEnd / by})
      for (std::int64_t near = -1; near <= 1; ++near) check(by, many * by + near);
  };
  for (std::int64_t by = 1; by <= 3000; ++by) check_divisor(by);
  for (std::int64_t power = 1; power <= kEnd; power *= 2)
    for (std::int64_t near = -2; near <= 2; ++near) check_divisor(power + near);
  CHECK(wrong == 0);
}
