// Purpose: a connection between two processes of a job, for what two threads say to each other at any time, while
//   others do the same: MPI serves one thread at a time.
// Thread safety: one thread at each end; cut() by any. Invariants: bytes come as they were sent, all of them, or
//   ConnectionLost is thrown.
#pragma once

#include <cstddef>
#include <type_traits>

namespace dptrain {

/// The other end is gone, or somebody has cut the connection.
struct ConnectionLost {};

class Connection {
 public:
  /// A TCP socket that is connected; it is closed at the end.
  explicit Connection(int socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Errors: ConnectionLost.
  void send(const void* bytes, std::size_t count) const;
  void receive(void* bytes, std::size_t count) const;
  template <class T>
  void send(const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    send(&value, sizeof value);
  }
  template <class T>
  T receive() const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    receive(&value, sizeof value);
    return value;
  }
  /// Nobody waits at it any longer, at either end.
  void cut() const noexcept;

 private:
  const int socket_;
};

}  // namespace dptrain
