// Purpose: where a process can be reached over TCP (IPv4) by others, and how they reach it. Thread safety: pure
//   functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace dptrain {

inline constexpr double kIntroduction = 3;  ///< seconds that an address may take
inline constexpr std::size_t kMostAddresses = 24;

/// Where a process can be reached, and what shows that it is the one.
struct Addresses {
  std::uint64_t token[2];
  std::uint32_t addresses[kMostAddresses];  // as in the network
  std::uint32_t count;
  std::uint16_t port;
};

std::string text_of(std::uint32_t address);
/// Those of this host's interfaces that are up, but for the loopback.
void find_addresses(Addresses& found);
/// Whether the socket is ready for `events` (POLLIN, POLLOUT) within so many seconds.
bool is_ready(int socket, short events, double seconds);
/// One that does not block. Errors: failed.
int open_socket();
/// A connection within kIntroduction; -1 where there is none.
int connect_to(std::uint32_t address, std::uint16_t port);
/// A port of any number, with what others need to come to it. Errors: failed.
int open_port(Addresses& mine);
/// A connection to whom these are of: the first of them by which `introduced(socket)` is true, because only that one
/// knows what to answer. -1 where there is none; `tried` is what was tried.
int reach(const Addresses& whom, bool on_this_host, const std::function<bool(int socket)>& introduced,
          std::string& tried);

}  // namespace dptrain
