// Purpose: quotients by a number that the host knows, without a division: a multiplication and a shift (Granlund and
//   Montgomery, "Division by invariant integers using multiplication", PLDI 1994). GPUs divide integers in some twenty
//   instructions, of 64 bits in a hundred.
// Thread safety: values. Invariants: exact for numbers below 2^31 and divisors from 1 to 2^31.
#pragma once

#include <bit>
#include <cstdint>

#include "core/host_device.h"

namespace dptrain::cuda {

class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(std::int64_t by)
      : by_(static_cast<std::uint32_t>(by)), shift_(static_cast<std::uint32_t>(std::bit_width(by_ - 1))) {
    multiplier_ = static_cast<std::uint32_t>((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift_) - by_) / by_ + 1);
  }

  DPTRAIN_HD std::uint32_t quotient(std::uint32_t number) const {
    const auto high = static_cast<std::uint32_t>(std::uint64_t{number} * multiplier_ >> 32);
    return (high + number) >> shift_;
  }
  /// The quotient; `number` becomes the remainder.
  DPTRAIN_HD std::uint32_t divide(std::uint32_t& number) const {
    const std::uint32_t result = quotient(number);
    number -= result * by_;
    return result;
  }

 private:
  std::uint32_t by_ = 1, shift_ = 0, multiplier_ = 1;
};

}  // namespace dptrain::cuda
