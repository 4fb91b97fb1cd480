// Purpose: what connects machines, as far as a forecast knows it: bytes a second and a latency.
// Thread safety: values, pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace dptrain {

struct Link {
  double bytes_per_second = 0;  ///< of one machine, in each direction at once
  double latency = 0;           ///< seconds, of one message
  bool operator==(const Link&) const = default;
};

/// "100Gbit,5us": a rate in bits (bit, kbit, Mbit, Gbit, Tbit) or bytes (kB, MB, GB) a second, then a latency in ns,
/// us, ms or s.
/// Errors: usage, naming --link.
Link read_link(const std::string& text);
/// "100 Gbit/s, 5 us".
std::string link_text(const Link& link);

/// An exchange in which each of so many processes has a message for every other, in rounds of one partner each: a
/// latency a round, and
/// the time for the bytes of the process that sends or receives most.
double exchange_seconds(const Link& link, int processes, std::int64_t bytes);

}  // namespace dptrain
